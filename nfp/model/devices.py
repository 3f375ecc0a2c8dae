"""What lifecycle and vendor drivers are handed, and what they give back.

Frozen values: a driver keeps none of our rows and cannot change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nfp.model.order import Order
from nfp.model.states import BackendStatus

PROVIDER = "provider"
CONSUMER = "consumer"
MANAGEMENT = "management"


@dataclass(frozen=True)
class Port:
    """A port of a device.

    :ivar id: our PortInfo id.
    :ivar backend_id: Neutron's (or GBP's) id; of a port that we make ourselves, what the driver gave.
    :ivar network_id: the network that it is on.
    :ivar classification: ``provider``, ``consumer`` or ``management``.
    :ivar mac_address: as Neutron writes it; ``None`` lets the driver choose.
    :ivar addresses: interface addresses with prefix length, ``10.0.0.1/24``.
    :ivar given: made by GBP or Neutron: plugged and unplugged, never renamed or deleted (I9).
    """

    id: str
    backend_id: str | None
    network_id: str
    classification: str
    mac_address: str | None = None
    addresses: tuple[str, ...] = ()
    given: bool = True


@dataclass(frozen=True)
class Route:
    """A route of a device.

    :ivar destination: a CIDR; ``0.0.0.0/0`` is the default route.
    :ivar nexthop: an address on one of the device's subnets.
    """

    destination: str
    nexthop: str


@dataclass(frozen=True)
class Nsd:
    """A network service device as the manager wants it.

    :ivar id: our NetworkServiceDevice id; the marker is ``nfp:<deployment>:<id>``.
    :ivar backend_id: the outside's id, ``None`` until known.
    :ivar ports: the data ports wanted, in plugging order, from the union of its bindings.
    :ivar routes: routes wanted on the device.
    :ivar management_address: where the device answers, ``None`` until known.
    :ivar flavor: what the service profile's ``service_flavor`` said, parsed.
    """

    id: str
    tenant_id: str
    deployment: str
    service_vendor: str
    service_types: tuple[str, ...]
    ports: tuple[Port, ...] = ()
    routes: tuple[Route, ...] = ()
    backend_id: str | None = None
    management_address: str | None = None
    flavor: Mapping[str, str] = field(default_factory=dict)

    @property
    def marker(self) -> str:
        """The text that every outside resource of this device bears from its creation."""
        return f"nfp:{self.deployment}:{self.id}"


@dataclass(frozen=True)
class PluggedInterface:
    """An interface as the device sees it.

    :ivar port_id: our PortInfo id.
    :ivar name: the device's own name for it, ``eth1``.
    """

    port_id: str
    name: str
    mac_address: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class CreatedNsd:
    """Answer of ``create_nsd``.

    :ivar interfaces: the data ports that are already plugged.
    :ivar answering: the driver has seen the device answer on its management address; otherwise it
        is configured only after the first good probe.
    """

    backend_id: str
    management_address: str
    interfaces: tuple[PluggedInterface, ...] = ()
    answering: bool = False


@dataclass(frozen=True)
class NsdStatus:
    """Answer of ``get_nsd_status``."""

    status: BackendStatus
    reason: str = ""


@dataclass(frozen=True)
class SharingInfo:
    """Answer of ``get_nsd_sharing_info``.

    :ivar shareable: whether a second service may be bound to the device.
    :ivar scope: who may share: ``chain``, ``tenant`` or ``none``.
    :ivar services: how many services it carries at most.
    :ivar interfaces: how many data interfaces it carries at most.
    :ivar sharing_key: equal keys mean one device; unique among live devices.
    """

    shareable: bool
    scope: str
    services: int
    interfaces: int
    sharing_key: str | None


@dataclass(frozen=True)
class Healthcheck:
    """Answer of ``get_nsd_healthcheck_info``; times in seconds.

    :ivar fall: failed probes in a row that make the device DOWN.
    :ivar rise: good probes in a row that make it UP.
    :ivar level: how deep a probe looks: ``management``, ``config`` or ``service``.
    :ivar server_name: the name that the device's certificate carries.
    """

    address: str
    port: int
    server_name: str
    protocol: str = "https"
    interval: float = 1.0
    timeout: float = 2.0
    fall: int = 3
    rise: int = 1
    level: str = "management"


@dataclass(frozen=True)
class NetworkServiceSpec:
    """A network service as the drivers see it.

    :ivar config: our own configuration tree (``firewall``, ``loadbalancer`` or ``vpn`` at the top).
    :ivar ports: its ports, provider first.
    :ivar live_key: chain id and node id; equal for a repeat of the same chain node.
    :ivar provider_cidrs: subnets of the provider group.
    :ivar consumer_cidrs: subnets that traffic comes from, as far as they are known.
    :ivar routes: routes that the device needs for this service.
    """

    id: str
    tenant_id: str
    service_type: str
    service_vendor: str
    config: Mapping[str, object]
    ports: tuple[Port, ...]
    service_chain_id: str | None = None
    insertion_mode: str = "l3"
    provider_cidrs: tuple[str, ...] = ()
    consumer_cidrs: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class DeviceAddress:
    """How the configurator reaches a device.

    :ivar server_name: the name that its certificate must carry.
    """

    nsd_id: str
    address: str
    port: int
    server_name: str


@dataclass(frozen=True)
class DeviceRequest:
    """One thing to be done on a device, with the order that guards it (I5)."""

    device: DeviceAddress
    order: Order
    tree: Mapping[str, object]
