"""What a service's wanted state comes to, worked out once for all who ask.

The same state is looked at when it is accepted, and again at each step until it is settled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from nfp.model.devices import NetworkServiceSpec
from nfp.model.digest import canonical, digest
from nfp.model.services import spec_of

_IDENTITY = ("id", "tenant_id", "service_chain_id")
_REGISTERS = ("service_profile", "service_config", "provider", "consumer")

_LONGEST = 32 * 1024
"""Characters of the largest state that is kept."""


class Derived:
    """A spec and its name; shared, so nobody changes it.

    :ivar spec: what drivers see.
    """

    def __init__(self, spec: NetworkServiceSpec) -> None:
        self.spec = spec

    @cached_property
    def digest(self) -> str:
        """Names the spec."""
        spec = self.spec
        parts = {
            "ports": [vars(port) for port in spec.ports],
            "routes": [vars(route) for route in spec.routes],
        }
        return digest({**vars(spec), **parts})  # as of ``asdict``, which copies all that it finds


def derive(identity: Mapping[str, Any], registers: Mapping[str, Any], vendors: Mapping[str, str]) -> Derived:
    """Derive as :func:`~nfp.model.services.spec_of` does.

    :raises nfp.model.errors.Invalid: naming the field.
    """
    state = canonical(
        [
            {name: identity.get(name) for name in _IDENTITY},
            {name: registers[name] for name in _REGISTERS if name in registers},
            dict(vendors),
        ]
    )
    return _kept(state) if len(state) <= _LONGEST else _derived(state)


def _derived(state: str) -> Derived:
    # From the text, so that it shares nothing with what the caller may still change.
    return Derived(spec_of(*json.loads(state)))


_kept = lru_cache(maxsize=512)(_derived)
