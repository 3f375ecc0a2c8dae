"""Bodies between manager and configurator (``contract.md`` section 4), built and read in one place.

A *tree* is a whole desired state; its digest is what ACTIVE is measured by (I8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nfp.model.devices import DeviceAddress
from nfp.model.errors import Invalid
from nfp.model.schemas import check

CREATE_NSD_CONFIG = "create_nsd_config"
DELETE_NSD_CONFIG = "delete_nsd_config"
CREATE_SERVICE_CONFIG = "create_network_service_config"
DELETE_SERVICE_CONFIG = "delete_network_service_config"
CREATE_HEALTHMONITOR = "create_network_service_healthmonitor"
DELETE_HEALTHMONITOR = "delete_network_service_healthmonitor"

OPERATIONS = (
    CREATE_NSD_CONFIG,
    DELETE_NSD_CONFIG,
    CREATE_SERVICE_CONFIG,
    DELETE_SERVICE_CONFIG,
    CREATE_HEALTHMONITOR,
    DELETE_HEALTHMONITOR,
)
"""The blueprint's six operations, each an RPC of the agent and a REST path of the configurator."""

NSD_CONFIG_NOTIFICATION = "nsd_config_notification"
HEALTHMONITOR_CONFIG_NOTIFICATION = "nsd_healthmonitor_config_notification"
HEALTH_STATUS_NOTIFICATION = "nsd_health_status_notification"

NOTIFICATIONS = (NSD_CONFIG_NOTIFICATION, HEALTHMONITOR_CONFIG_NOTIFICATION, HEALTH_STATUS_NOTIFICATION)

_NSD = {
    "type": "object",
    "required": ["nsd_id", "address", "port", "server_name"],
    "properties": {
        "nsd_id": {"type": "string", "minLength": 1, "maxLength": 64},
        "address": {"type": "string", "minLength": 2, "maxLength": 255},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "server_name": {"type": "string", "minLength": 1, "maxLength": 255},
    },
}

BODY: Mapping[str, object] = {
    "type": "object",
    "required": ["info", "config"],
    "properties": {
        "info": {
            "type": "object",
            "required": ["service_type", "service_vendor", "context"],
            "properties": {
                "service_type": {"type": "string", "minLength": 1, "maxLength": 64},
                "service_vendor": {"type": "string", "minLength": 1, "maxLength": 64},
                "context": {
                    "type": "object",
                    "required": ["nsd_id", "order"],
                    "properties": {
                        "nsd_id": {"type": "string", "minLength": 1, "maxLength": 64},
                        "network_service_id": {"type": ["string", "null"]},
                        "order": {
                            "type": "array",
                            "prefixItems": [{"type": "integer"}, {"type": "integer"}],
                            "minItems": 2,
                            "maxItems": 2,
                            "description": "[fence, revision], two integers",
                        },
                        "digest": {"type": ["string", "null"]},
                        "request_id": {"type": ["string", "null"]},
                    },
                },
            },
        },
        "config": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["resource", "resource_data"],
                "properties": {
                    "resource": {"type": "string", "minLength": 1, "maxLength": 64},
                    "resource_data": {"type": "object", "required": ["nsd"], "properties": {"nsd": _NSD}},
                },
            },
        },
    },
}
"""Schema of a request body."""


def body(
    *,
    service_type: str,
    service_vendor: str,
    context: Mapping[str, object],
    device: DeviceAddress,
    config: Sequence[Mapping[str, Any]],
) -> dict[str, object]:
    """Build a request body.

    :param config: ``{"resource", "resource_data"}`` items; each gets the device's address as ``nsd``.
    """
    return {
        "info": {"service_type": service_type, "service_vendor": service_vendor, "context": dict(context)},
        "config": [
            {"resource": item["resource"], "resource_data": {**item["resource_data"], "nsd": asdict(device)}}
            for item in config
        ],
    }


def check_body(value: object) -> None:
    """Check a request body.

    :raises Invalid: naming the field.
    """
    check(value, BODY)


def device_of(request: Mapping[str, Any]) -> DeviceAddress:
    """The device that a checked body is about.

    :raises Invalid: its items name different devices.
    """
    found = [item["resource_data"]["nsd"] for item in request["config"]]
    if any(other["nsd_id"] != request["info"]["context"]["nsd_id"] for other in found):
        raise Invalid("every item must name the device of info.context", field="config")
    nsd = found[0]
    return DeviceAddress(nsd["nsd_id"], nsd["address"], nsd["port"], nsd["server_name"])


def tree_of(config: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """The whole desired state in a ``config``: every ``resource_data`` without the address, merged.

    ``interfaces`` and ``routes`` of a device merge to ``{"interfaces": […], "routes": […]}``; a
    service's single item gives its own tree.
    """
    tree: dict[str, object] = {}
    for item in config:
        tree.update({name: value for name, value in item["resource_data"].items() if name != "nsd"})
    return tree


def result(
    kind: str,
    request: Mapping[str, Any],
    *,
    outcome: str,
    digest: str | None,
    reason: str = "",
    transient: bool = False,
) -> dict[str, object]:
    """Build the notification that answers *request*.

    :param kind: one of :data:`NOTIFICATIONS`.
    :param outcome: an :class:`~nfp.model.states.Outcome`.
    :param digest: what was read back; ``None`` when nothing could be.
    :param transient: a refusal that another try may turn.
    """
    info = request["info"]
    resource = request["config"][-1]["resource"]
    return {
        "kind": kind,
        "info": info,
        "notification": [
            {
                "resource": resource,
                "data": {
                    "order": info["context"]["order"],
                    "digest": digest,
                    "outcome": outcome,
                    "reason": reason,
                    "transient": transient,
                },
            }
        ],
    }


def health_status(
    nsd_id: str, info: Mapping[str, object], *, status: str, since: str, level: str, reason: str
) -> dict[str, object]:
    """Build an ``nsd_health_status_notification``.

    :param since: ISO 8601 time of the change, UTC.
    """
    return {
        "kind": HEALTH_STATUS_NOTIFICATION,
        "info": dict(info),
        "notification": [
            {
                "resource": "healthmonitor",
                "data": {
                    "nsd_id": nsd_id,
                    "status": status,
                    "since": since,
                    "level": level,
                    "reason": reason,
                },
            }
        ],
    }
