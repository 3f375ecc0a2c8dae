"""The ``namespace`` driver: a device is a network namespace of this machine.

Its addresses, names and MACs are computed from ids, so that nothing is allocated and nothing can
leak: a try that was killed anywhere is completed by the next.  Interfaces are told apart by MAC
address; a data port that has none gets one that is computed too.  The addresses of data ports are
the device runtime's to set, with its configuration; before, nothing is forwarded.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv6Address

from zope.interface import directlyProvides

from nfp.manager.interfaces import ConfigItem, IDeviceInventory, ILifeCycleDriver
from nfp.manager.lifecycle.config import NamespaceSettings, read
from nfp.manager.lifecycle.control import DeviceControl
from nfp.manager.lifecycle.fabric import MANAGEMENT_NETWORK, Fabric, bridge_name, derived_mac, port_name
from nfp.manager.lifecycle.occupants import end_processes
from nfp.model.devices import (
    CONSUMER,
    PROVIDER,
    CreatedNsd,
    Healthcheck,
    NetworkServiceSpec,
    Nsd,
    NsdStatus,
    PluggedInterface,
    Port,
    SharingInfo,
)
from nfp.model.errors import Permanent, Transient
from nfp.model.states import BackendStatus, ServiceType
from nfp.netns import links, namespaces
from nfp.netns.links import Nic
from nfp.netns.messages import Link

MANAGEMENT_INTERFACE = "eth0"
MARKER_LIMIT = 12
GATEWAYS = (ServiceType.FIREWALL, ServiceType.VPN)
SERVICES_PER_GATEWAY = 2
INTERFACES_PER_DEVICE = 8
END_SECONDS = 5.0

SYSCTLS = {
    # Forwarding is the device runtime's: it begins once something judges what is forwarded.
    # The management network is IPv6, whatever the host has switched off for itself.
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}


class NamespaceDriver:
    """Makes, finds and removes device namespaces.  Plain blocking code: runs in threads.

    :param settings: section ``[namespace]``.
    """

    name = "namespace"
    single_host = True
    """Its devices are on this machine: no manager of another host could look after them."""

    def __init__(self, settings: NamespaceSettings) -> None:
        # Not by a decorator: the interfaces promise awaitables, which threads make of these methods.
        directlyProvides(self, ILifeCycleDriver, IDeviceInventory)
        self._settings = settings
        self._fabric = Fabric(settings.fabric, settings.run_dir / "fabric.lock")
        self._control = DeviceControl(settings.device_socket, settings.device_timeout)
        self._records = settings.run_dir / "devices"

    def create_nsd(self, nsd: Nsd) -> CreatedNsd:
        """Make the namespace with its management interface and data ports, and have it served."""
        namespace, address = self.namespace_of(nsd.id), self.address_of(nsd.id)
        self._record(namespace, nsd)
        nics = [self._management_nic(nsd.id, address), *self._data_nics(nsd.id, namespace, nsd.ports)]
        try:
            self._fabric.plug(namespace, nics, sysctls=SYSCTLS)
        except OSError as error:
            raise Transient(f"making {namespace}: {error}") from error
        self._control.serve(nsd.id, namespace, address, self._settings.device_port)
        return CreatedNsd(namespace, address, _interfaces(nsd.ports, nics[1:]), answering=True)

    def delete_nsd(self, nsd: Nsd) -> None:
        """Have it served no more, end what runs inside, remove it, and see its links vanish."""
        namespace = self.namespace_of(nsd.id)
        self._control.forget(nsd.id)
        end_processes(namespace, END_SECONDS)
        names = [port_name(nsd.id, port.id) for port in nsd.ports]
        try:
            self._fabric.dissolve(namespace, [port_name(nsd.id, MANAGEMENT_NETWORK), *names])
        except OSError as error:
            raise Transient(f"removing {namespace}: {error}") from error
        for left in (f"{namespace}.json", f"{namespace}.new"):
            (self._records / left).unlink(missing_ok=True)

    def select_nsd(self, network_service: NetworkServiceSpec, candidates: Sequence[Nsd]) -> Nsd | None:
        """The oldest device that may carry this service type."""
        if network_service.service_type not in GATEWAYS:
            return None
        return candidates[0] if candidates else None

    def get_nsd_status(self, nsd: Nsd) -> NsdStatus:
        """Look for the namespace, its management interface, and whether it is served."""
        namespace = self.namespace_of(nsd.id)
        if namespace not in namespaces.names(namespace):
            return NsdStatus(BackendStatus.GONE, f"{namespace} is not there")
        try:
            there = {link.name for link in links.list_links(namespace)}
        except OSError as error:
            return NsdStatus(BackendStatus.UNKNOWN, f"looking at {namespace}: {error}")
        if MANAGEMENT_INTERFACE not in there:
            return NsdStatus(BackendStatus.ERROR, f"{namespace} has no management interface")
        try:
            served = nsd.id in self._control.served()
        except Transient as error:
            return NsdStatus(BackendStatus.UNKNOWN, error.reason)
        if not served:
            return NsdStatus(BackendStatus.ERROR, f"the device runtime does not serve {namespace}")
        return NsdStatus(BackendStatus.ACTIVE)

    def plug_nsd_interface(self, nsd: Nsd, interface: Port) -> PluggedInterface:
        """Add one data port; the others carry on."""
        namespace = self.namespace_of(nsd.id)
        if not namespaces.exists(namespace):
            raise Transient(f"{namespace} is not there")
        nics = self._data_nics(nsd.id, namespace, [interface])
        try:
            self._fabric.plug(namespace, nics)
        except OSError as error:
            raise Transient(f"plugging port {interface.id} into {namespace}: {error}") from error
        return _interfaces([interface], nics)[0]

    def unplug_nsd_interface(self, nsd: Nsd, interface: Port) -> None:
        """Remove one data port, and its network's bridge if it was the last on it."""
        try:
            self._fabric.unplug([port_name(nsd.id, interface.id)])
        except OSError as error:
            raise Transient(f"unplugging port {interface.id}: {error}") from error

    def get_nsd_sharing_info(self, network_service: NetworkServiceSpec) -> SharingInfo:
        """Gateways of one chain share the device that holds their provider port."""
        provider = _port_of(network_service, PROVIDER)
        chain = network_service.service_chain_id
        if network_service.service_type not in GATEWAYS or provider is None or chain is None:
            return SharingInfo(False, "none", 1, INTERFACES_PER_DEVICE, None)
        key = f"{chain} {provider.backend_id or provider.id}"
        return SharingInfo(True, "chain", SERVICES_PER_GATEWAY, INTERFACES_PER_DEVICE, key)

    def get_nsd_healthcheck_info(self, nsd: Nsd) -> Healthcheck:
        """The device runtime answers inside the namespace."""
        address = nsd.management_address or self.address_of(nsd.id)
        return Healthcheck(address, self._settings.device_port, self._settings.device_server_name)

    def get_nsd_config_info(self, nsd: Nsd, interfaces: Sequence[PluggedInterface]) -> Sequence[ConfigItem]:
        """Interfaces with their roles, and routes."""
        roles = {port.id: port.classification for port in nsd.ports}
        told = [
            {
                "port_id": interface.port_id,
                "name": interface.name,
                "mac": interface.mac_address,
                "addresses": list(interface.addresses),
                "role": roles.get(interface.port_id, PROVIDER),
            }
            for interface in interfaces
        ]
        routes = [{"destination": route.destination, "nexthop": route.nexthop} for route in nsd.routes]
        return (
            {"resource": "interfaces", "resource_data": {"interfaces": told}},
            {"resource": "routes", "resource_data": {"routes": routes}},
        )

    def get_network_service_config_info(
        self, network_service: NetworkServiceSpec, nsd: Nsd, interfaces: Sequence[PluggedInterface]
    ) -> Sequence[ConfigItem]:
        """The service's tree, and which interface faces whom."""
        if network_service.service_type != ServiceType.FIREWALL:
            raise Permanent(f"no device of this driver can be a {network_service.service_type}")
        # Interfaces bear our ids of the ports, the service those of whoever gave them.
        given = {port.id: port.backend_id or port.id for port in nsd.ports}
        macs = {given.get(one.port_id, one.port_id): one.mac_address for one in interfaces}
        sides = {
            side: {"mac": _mac_of(network_service, side, macs), "cidrs": list(cidrs)}
            for side, cidrs in (
                (PROVIDER, network_service.provider_cidrs),
                (CONSUMER, network_service.consumer_cidrs),
            )
        }
        tree = {"firewall": network_service.config["firewall"], **sides}
        return ({"resource": "firewall", "resource_data": tree},)

    def list_nsds(self, deployment: str) -> Mapping[str, str]:
        """Every device namespace that is there, with the id that was written down before it was made."""
        found = {}
        for namespace in namespaces.names(self._settings.device_names):
            record = self._recorded(namespace)
            if record.get("deployment", deployment) == deployment:
                found[record.get("id", namespace)] = namespace
        return found

    def namespace_of(self, nsd_id: str) -> str:
        """Name of a device's namespace, its backend id."""
        return f"{self._settings.device_names}{_uuid(nsd_id).hex[:MARKER_LIMIT]}"

    def address_of(self, nsd_id: str) -> str:
        """A device's address on the management network: the prefix, then half of its id."""
        return str(IPv6Address(int(self._settings.prefix) | _uuid(nsd_id).int >> 64))

    def _management_nic(self, nsd_id: str, address: str) -> Nic:
        return Nic(
            name=MANAGEMENT_INTERFACE,
            bridge=bridge_name(MANAGEMENT_NETWORK),
            host_name=port_name(nsd_id, MANAGEMENT_NETWORK),
            mac=derived_mac(nsd_id, MANAGEMENT_NETWORK),
            addresses=(f"{address}/64",),
        )

    def _data_nics(self, nsd_id: str, namespace: str, ports: Sequence[Port]) -> list[Nic]:
        """Name each port as it is named already, or by the next free number."""
        there = links.list_links(namespace) if namespaces.exists(namespace) else []
        named = {link.mac: link.name for link in there if _is_data(link)}
        free = _free_names(named.values())
        macs = [(port.mac_address or derived_mac(nsd_id, port.id)).lower() for port in ports]
        if len(set(macs)) < len(macs):
            raise Permanent(f"two ports of one device have the same MAC address: {', '.join(sorted(macs))}")
        return [
            Nic(
                name=named.get(mac) or next(free),
                bridge=bridge_name(port.network_id),
                host_name=port_name(nsd_id, port.id),
                mac=mac,
            )
            for port, mac in zip(ports, macs, strict=True)
        ]

    def _record(self, namespace: str, nsd: Nsd) -> None:
        """Write the whole id down before there is a namespace that bears a part of it."""
        self._records.mkdir(parents=True, exist_ok=True)
        path = self._records / f"{namespace}.json"
        if not path.exists():
            # One name, also for a try that was killed before it was done: the device has one writer.
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps({"id": nsd.id, "deployment": nsd.deployment}))
            fresh.replace(path)

    def _recorded(self, namespace: str) -> Mapping[str, str]:
        try:
            record = json.loads((self._records / f"{namespace}.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def make(files: Sequence[str]) -> NamespaceDriver:
    """Make the driver; entry point ``namespace`` of the group ``nfp.lifecycle_drivers``."""
    return NamespaceDriver(read(files))


def _uuid(nsd_id: str) -> uuid.UUID:
    try:
        return uuid.UUID(nsd_id)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, nsd_id)


def _is_data(link: Link) -> bool:
    return link.name.startswith("eth") and link.name != MANAGEMENT_INTERFACE


def _free_names(taken: Iterable[str]) -> Iterator[str]:
    used = set(taken)
    return iter(name for name in (f"eth{number}" for number in range(1, 1000)) if name not in used)


def _interfaces(ports: Sequence[Port], nics: Sequence[Nic]) -> tuple[PluggedInterface, ...]:
    return tuple(
        PluggedInterface(port.id, nic.name, nic.mac or "", port.addresses)
        for port, nic in zip(ports, nics, strict=True)
    )


def _port_of(service: NetworkServiceSpec, side: str) -> Port | None:
    return next((port for port in service.ports if port.classification == side), None)


def _mac_of(service: NetworkServiceSpec, side: str, macs: Mapping[str, str]) -> str | None:
    port = _port_of(service, side)
    return None if port is None else macs.get(port.backend_id or port.id)
