"""States as operators and GBP know them."""

from __future__ import annotations

from enum import StrEnum


class ServiceStatus(StrEnum):
    """``status`` of a network service and of its instances."""

    PENDING_CREATE = "PENDING_CREATE"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_DELETE = "PENDING_DELETE"
    ACTIVE = "ACTIVE"
    DOWN = "DOWN"
    ERROR = "ERROR"
    DELETED = "DELETED"
    """Only ever seen in the last notification: the row is removed with it."""


class DeviceStatus(StrEnum):
    """``status`` of a network service device."""

    PENDING_CREATE = "PENDING_CREATE"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_DELETE = "PENDING_DELETE"
    ACTIVE = "ACTIVE"
    DOWN = "DOWN"
    ERROR = "ERROR"


class BackendStatus(StrEnum):
    """What a lifecycle driver's ``get_nsd_status`` says of the outside."""

    BUILDING = "BUILDING"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    GONE = "GONE"
    UNKNOWN = "UNKNOWN"


class Health(StrEnum):
    """What a monitor says of a device."""

    UP = "UP"
    DOWN = "DOWN"


class Outcome(StrEnum):
    """How a configuration request ended (``contract.md`` section 4)."""

    APPLIED = "applied"
    REFUSED = "refused"
    REVERTED = "reverted"


class ServiceType(StrEnum):
    """Service types of a service profile, as GBP spells them."""

    FIREWALL = "FIREWALL"
    LOADBALANCER = "LOADBALANCERV2"
    VPN = "VPN"
