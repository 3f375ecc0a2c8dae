"""What the device planner decides on: a device and its bindings, at one revision."""

from __future__ import annotations

from dataclasses import dataclass, field

from nfp.manager.plan.decisions import Attempts
from nfp.manager.plan.told import Told


@dataclass(frozen=True)
class Bound:
    """A binding, as the device sees it.

    :ivar key: digest of the spec wanted and of the interfaces that it will run on.
    :ivar removed: the configurator said that the service is off the device.
    """

    instance_id: str
    service_id: str
    unbinding: bool
    key: str
    told: Told = field(default_factory=Told)
    removing: Told | None = None
    removed: bool = False


@dataclass(frozen=True)
class DeviceSnapshot:
    """What the store says of a device at one revision.

    :ivar wanted_ports: port ids of the union of its bindings, in plugging order.
    :ivar plugged: port ids that are plugged.
    :ivar boot: boot id of its configurator as the agent last reported it; ``None``: no live agent
        reaches it.
    :ivar backend: what the last look from outside said, at *inspected_at*.
    :ivar config_key: digest of the interfaces and routes wanted.
    :ivar health: the last verdict of the monitor, ``None`` before the first.
    :ivar uncertain_below: what was told under a lower fence, and has no result, may never have been sent.
    :ivar attempted: whether making the device was ever begun, so that something of it may be there.
    :ivar outdated: port ids that are plugged as they were before a change.
    :ivar clearing: the request to take addresses and routes off, if one is under way.
    """

    id: str
    revision: int
    wanted_absent: bool
    held: str | None
    failure: str | None
    attempts: Attempts
    created: bool
    backend: str | None
    backend_reason: str
    inspected_at: float
    wanted_ports: tuple[str, ...]
    plugged: tuple[str, ...]
    boot: str | None
    monitor: Told
    config_key: str
    config: Told
    answering: bool
    health: str | None
    health_reason: str
    bindings: tuple[Bound, ...]
    uncertain_below: int = 0
    attempted: bool = False
    outdated: tuple[str, ...] = ()
    clearing: Told | None = None
