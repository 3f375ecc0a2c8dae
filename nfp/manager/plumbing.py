"""How many policy targets a node needs on each side, and how it behaves (``contract.md`` sections 2, 9).

Answered at once and without I/O: Neutron's API requests wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nfp.model.errors import Invalid
from nfp.model.states import ServiceType

GATEWAY, ENDPOINT, TRANSPARENT = "gateway", "endpoint", "transparent"
_TYPES = {ServiceType.FIREWALL: GATEWAY, ServiceType.VPN: GATEWAY, ServiceType.LOADBALANCER: ENDPOINT}


def plumbing_info(args: Mapping[str, Any]) -> dict[str, object]:
    """Answer ``get_plumbing_info``.

    :raises Invalid: a service type or an insertion mode that is not known.
    """
    profile = args["request_info"]["profile"]
    mode = (profile.get("insertion_mode") or "l3").lower()
    if mode in ("l2", "bitw"):
        plumbing_type = TRANSPARENT
    elif mode == "l3":
        known = _TYPES.get(str(profile["service_type"]).upper())  # type: ignore[call-overload]
        if known is None:
            raise Invalid("unknown service type", field="request_info.profile.service_type")
        plumbing_type = known
    else:
        raise Invalid("not supported yet", field="request_info.profile.insertion_mode")
    consumer: list[object] = [] if plumbing_type == ENDPOINT else [{}]
    return {"management": [], "provider": [{}], "consumer": consumer, "plumbing_type": plumbing_type}
