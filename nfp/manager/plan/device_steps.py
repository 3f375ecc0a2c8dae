"""What can be done for a network service device, as values."""

from __future__ import annotations

from dataclasses import dataclass

from nfp.manager.plan.decisions import Step


@dataclass(frozen=True)
class CreateNsd(Step):
    """Make the device."""


@dataclass(frozen=True)
class Inspect(Step):
    """Look at the device from outside."""


@dataclass(frozen=True)
class Plug(Step):
    """Give the device one interface."""

    port_id: str


@dataclass(frozen=True)
class Unplug(Step):
    """Take one interface away."""

    port_id: str


@dataclass(frozen=True)
class TellMonitor(Step):
    """Have the configurator watch the device."""


@dataclass(frozen=True)
class TellConfig(Step):
    """Have the configurator give the device its addresses and routes."""

    key: str


@dataclass(frozen=True)
class TellService(Step):
    """Have the configurator give the device one service's configuration."""

    instance_id: str
    key: str

    @property
    def name(self) -> str:
        return f"TellService:{self.instance_id}"


@dataclass(frozen=True)
class TellRemoval(Step):
    """Have the configurator take one service off the device."""

    instance_id: str

    @property
    def name(self) -> str:
        return f"TellRemoval:{self.instance_id}"


@dataclass(frozen=True)
class DropBinding(Step):
    """Nothing of the service is on the device any more: remove the instance."""

    instance_id: str


@dataclass(frozen=True)
class TellClear(Step):
    """Have the configurator take addresses and routes off the device."""


@dataclass(frozen=True)
class TellMonitorRemoval(Step):
    """Have the configurator watch the device no more."""


@dataclass(frozen=True)
class DeleteNsd(Step):
    """Remove the device."""


@dataclass(frozen=True)
class RemoveDevice(Step):
    """Remove the rows of the device."""
