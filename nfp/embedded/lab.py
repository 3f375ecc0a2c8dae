"""Lab hosts: anybody can put a namespace on a network and send packets from it.  Blocking."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from uuid import NAMESPACE_OID, uuid5

from nfp.embedded import topology
from nfp.embedded.configuration import read_connection
from nfp.embedded.state_dir import StateDir
from nfp.manager.directory.register import forget_port, register_port, register_subnet
from nfp.manager.interfaces import DirectoryPort, DirectorySubnet
from nfp.manager.lifecycle.fabric import bridge_name, derived_mac, port_name
from nfp.manager.lifecycle.occupants import end_processes
from nfp.model.errors import Conflict, Invalid, NotFound, Unavailable
from nfp.netns import namespaces
from nfp.netns.links import Nic, RouteSpec

INTERFACE = "eth0"
END_SECONDS = 3.0
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


@dataclass(frozen=True)
class Host:
    """A lab host as it was asked for.

    :ivar address: with prefix length.
    :ivar gateway: next hop of its default route.
    """

    name: str
    network: str
    address: str
    mac: str
    port_id: str
    gateway: str | None = None
    subnet_id: str | None = None


def host(
    state: StateDir,
    name: str,
    *,
    network: str,
    address: str,
    mac: str | None = None,
    gateway: str | None = None,
    port_id: str | None = None,
    subnet_id: str | None = None,
) -> Host:
    """Check what was asked for, and fill in what was not.

    :raises Invalid: naming the option.
    """
    namespace = state.lab(name)
    if not network:
        raise Invalid("expected the id of a network", field="--network")
    if "/" not in address:
        raise Invalid("expected an address with its prefix length, 10.0.0.5/24", field="--address")
    try:
        interface = ip_interface(address)
    except ValueError as error:
        raise Invalid(str(error), field="--address") from None
    if gateway is not None:
        gateway = _gateway(gateway, interface)
    if mac is not None and not _MAC.fullmatch(mac):
        raise Invalid("expected a MAC address, fa:16:3e:00:00:07", field="--mac")
    return Host(
        name=name,
        network=network,
        address=str(interface),
        mac=(mac or derived_mac(namespace, network)).lower(),
        port_id=port_id or str(uuid5(NAMESPACE_OID, f"{namespace} {network}")),
        gateway=gateway,
        subnet_id=subnet_id,
    )


def _gateway(text: str, interface: IPv4Interface | IPv6Interface) -> str:
    try:
        gateway = ip_address(text)
    except ValueError as error:
        raise Invalid(str(error), field="--gateway") from None
    if gateway not in interface.network:
        raise Invalid(f"{gateway} is not on {interface.network}", field="--gateway")
    return str(gateway)


def attach(state: StateDir, wanted: Host) -> str:
    """Make the host's namespace on its network, and let the directory know its port.

    :return: the namespace's name.
    :raises Conflict: a host of that name is attached differently.
    :raises Unavailable: no instance is up in the state directory.
    """
    _must_be_up(state)
    namespace = state.lab(wanted.name)
    known = _recorded(state, wanted.name)
    if known is not None and known != wanted and namespaces.exists(namespace):
        raise Conflict(f"{wanted.name} is attached already, to {known.network}; detach it first")
    record = state.lab_record(wanted.name)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(asdict(wanted)))
    nic = Nic(
        name=INTERFACE,
        bridge=bridge_name(wanted.network),
        host_name=port_name(namespace, INTERFACE),
        mac=wanted.mac,
        addresses=(wanted.address,),
    )
    routes = []
    if wanted.gateway is not None:
        everywhere = "0.0.0.0/0" if ip_address(wanted.gateway).version == 4 else "::/0"
        routes.append(RouteSpec(everywhere, wanted.gateway))
    try:
        topology.fabric_of(state).plug(namespace, [nic], routes)
    except OSError as error:
        raise Invalid(f"this does not fit together: {error}") from error
    _register(state, wanted)
    return namespace


def detach(state: StateDir, name: str) -> None:
    """End what runs on the host, remove it, its network's bridge if it was the last, and its port.

    :raises NotFound: no host of that name is attached.
    """
    namespace, known = state.lab(name), _recorded(state, name)
    if known is None and not namespaces.exists(namespace):
        raise NotFound(f"no lab host {name} is attached in {state.root}")
    end_processes(namespace, END_SECONDS)
    topology.fabric_of(state).dissolve(namespace, [port_name(namespace, INTERFACE)])
    if known is not None:
        forget_port(read_connection(state), known.port_id)
    state.lab_record(name).unlink(missing_ok=True)


def forget_ports(state: StateDir) -> None:
    """Let the directory forget the ports of all hosts: they go with the topology."""
    connection = read_connection(state)
    for record in state.lab_record("").parent.glob("*.json"):
        known = _recorded(state, record.stem)
        if known is not None:
            forget_port(connection, known.port_id)


def _must_be_up(state: StateDir) -> None:
    if not namespaces.exists(state.fabric):
        raise Unavailable(f"no instance is up in {state.root}; start it: nfp up --state-dir {state.root}")


def _recorded(state: StateDir, name: str) -> Host | None:
    try:
        return Host(**json.loads(state.lab_record(name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _register(state: StateDir, wanted: Host) -> None:
    connection = read_connection(state)
    interface = ip_interface(wanted.address)
    if wanted.subnet_id is not None:
        register_subnet(
            connection,
            DirectorySubnet(wanted.subnet_id, wanted.network, str(interface.network), wanted.gateway),
        )
    register_port(
        connection,
        DirectoryPort(wanted.port_id, wanted.network, wanted.mac, (str(interface.ip),), wanted.subnet_id),
    )
