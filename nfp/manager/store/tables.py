"""Every table, in one place for migrations and for statements."""

from __future__ import annotations

from nfp.manager.store.base import Base, clock
from nfp.manager.store.devices import NetworkServiceDevice
from nfp.manager.store.directory import DirectoryPortRow, DirectorySubnetRow
from nfp.manager.store.ports import NetworkInfo, PortInfo
from nfp.manager.store.records import (
    AcceptedMessage,
    AgentRecord,
    EarlyMessage,
    History,
    ManagerHost,
    Tombstone,
)
from nfp.manager.store.services import InstancePort, NetworkService, NetworkServiceInstance

__all__ = [
    "AcceptedMessage",
    "AgentRecord",
    "Base",
    "DirectoryPortRow",
    "DirectorySubnetRow",
    "EarlyMessage",
    "History",
    "InstancePort",
    "ManagerHost",
    "NetworkInfo",
    "NetworkService",
    "NetworkServiceDevice",
    "NetworkServiceInstance",
    "PortInfo",
    "Tombstone",
    "clock",
]
