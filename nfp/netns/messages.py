"""Encoding of rtnetlink messages: bytes in, bytes out, no socket.

Numbers are those of ``linux/rtnetlink.h``, ``if_link.h``, ``if_addr.h`` and ``veth.h``.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_DUMP, NLM_F_CREATE = 0x100, 0x200, 0x300, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200

IFF_UP = 1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_BR_MCAST_SNOOPING = 23
VETH_INFO_PEER = 1
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_TABLE = 1, 4, 5, 15
RT_TABLE_MAIN, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RTN_UNICAST = 254, 0, 253, 1

RTPROT_STATIC = 4
RTPROT_NFP = 78
"""Marks routes that a device's configuration made; others are never touched."""

HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
MAX_NAME = 15


class Message(NamedTuple):
    """A request without its sequence number.

    :ivar what: words for the error text.
    """

    kind: int
    flags: int
    body: bytes
    what: str


class Reply(NamedTuple):
    """A message that came back."""

    kind: int
    flags: int
    sequence: int
    body: bytes


@dataclass(frozen=True)
class Link:
    """An interface as the kernel shows it.

    :ivar mac: lower case with colons; empty for a kind without one.
    :ivar master: index of the bridge that it is a port of, 0 for none.
    :ivar addresses: with prefix length; link-local ones are left out.
    """

    index: int
    name: str
    mac: str
    up: bool
    master: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class KernelRoute:
    """A unicast route of the main table.

    :ivar nexthop: ``None`` for a directly connected network.
    :ivar protocol: who made it, :data:`RTPROT_NFP` for ours.
    """

    destination: str
    nexthop: str | None
    index: int
    protocol: int


def check_name(name: str) -> str:
    """Check the name of an interface: what ``dev_valid_name`` of the kernel takes.

    :raises ValueError: the kernel would refuse it.
    """
    fits = 0 < len(name.encode()) <= MAX_NAME and name not in (".", "..")
    if not fits or any(c in "/:%" or c.isspace() or not c.isprintable() for c in name):
        raise ValueError(f"{name!r} is not an interface name of 1 to {MAX_NAME} characters")
    return name


def encode(message: Message, sequence: int) -> bytes:
    """Give *message* its header; the length is always a multiple of four."""
    flags = message.flags | NLM_F_REQUEST
    return HEADER.pack(HEADER.size + len(message.body), message.kind, flags, sequence, 0) + message.body


def decode(datagram: bytes) -> Iterator[Reply]:
    """Split a datagram into its messages."""
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, flags, sequence, _port = HEADER.unpack_from(datagram, offset)
        if length < HEADER.size:
            return
        yield Reply(kind, flags, sequence, datagram[offset + HEADER.size : offset + length])
        offset += (length + 3) & ~3


def error_of(reply: Reply) -> tuple[int, str]:
    """Read an acknowledgement: (errno, the kernel's own explanation or nothing); 0 is success."""
    (code,) = struct.unpack_from("=i", reply.body)
    if not code or not reply.flags & NLM_F_ACK_TLVS:
        return -code, ""
    start = 4 + HEADER.size
    if not reply.flags & NLM_F_CAPPED:
        (length,) = struct.unpack_from("=I", reply.body, 4)
        start = 4 + ((length + 3) & ~3)
    text = attributes(reply.body[start:]).get(1, b"")
    return -code, text.rstrip(b"\0").decode(errors="replace")


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """Encode one attribute; text gets its NUL, a number is 32 bits of the host's order."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("=I", value)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Decode the attributes of a message by kind (nested flag removed)."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _ifinfo(index: int = 0, up: bool = False) -> bytes:
    return _IFINFO.pack(0, 0, index, IFF_UP if up else 0, IFF_UP if up else 0)


def mac_bytes(mac: str) -> bytes:
    """Read a MAC as Neutron writes it.

    :raises ValueError: it is not six octets in hex.
    """
    parts = mac.split(":")
    if len(parts) != 6 or any(len(part) != 2 for part in parts):
        raise ValueError(f"{mac!r} is not a MAC address")
    return bytes(int(part, 16) for part in parts)


def make_bridge(name: str) -> Message:
    """A bridge that is up and floods multicast; one of that name already there is success."""
    data = attribute(IFLA_BR_MCAST_SNOOPING, b"\0")
    info = attribute(IFLA_INFO_KIND, "bridge") + attribute(IFLA_INFO_DATA, data)
    body = _ifinfo(up=True) + attribute(IFLA_IFNAME, check_name(name)) + attribute(IFLA_LINKINFO, info)
    return Message(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE, body, f"make bridge {name}")


def make_veth(
    name: str, master: int, peer: str, peer_namespace: int, mac: str | None, master_name: str = ""
) -> Message:
    """A pair: *name* here, up and a port of *master*; *peer* in another namespace, down.

    :param master: index of the bridge.
    :param peer_namespace: open file descriptor of the other namespace.
    :param mac: address of *peer*.
    """
    far = _ifinfo() + attribute(IFLA_IFNAME, check_name(peer)) + attribute(IFLA_NET_NS_FD, peer_namespace)
    if mac is not None:
        far += attribute(IFLA_ADDRESS, mac_bytes(mac))
    info = attribute(IFLA_INFO_KIND, "veth") + attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, far))
    body = _ifinfo(up=True) + attribute(IFLA_IFNAME, check_name(name)) + attribute(IFLA_MASTER, master)
    body += attribute(IFLA_LINKINFO, info)
    what = f"make port {name} of bridge {master_name or master} for {peer}"
    return Message(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body, what)


def set_up(index: int) -> Message:
    """Bring an interface up."""
    return Message(RTM_NEWLINK, NLM_F_ACK, _ifinfo(index, up=True), f"bring up interface {index}")


def set_master(index: int, master: int) -> Message:
    """Make an interface a port of another bridge."""
    body = _ifinfo(index, up=True) + attribute(IFLA_MASTER, master)
    return Message(RTM_NEWLINK, NLM_F_ACK, body, f"put interface {index} on bridge {master}")


def remove_link(name: str) -> Message:
    """Remove an interface by name."""
    body = _ifinfo() + attribute(IFLA_IFNAME, check_name(name))
    return Message(RTM_DELLINK, NLM_F_ACK, body, f"remove {name}")


def get_link(name: str) -> Message:
    """Ask for one interface by name."""
    body = _ifinfo() + attribute(IFLA_IFNAME, check_name(name))
    return Message(RTM_GETLINK, NLM_F_ACK, body, f"find {name}")


def dump_links() -> Message:
    """Ask for all interfaces."""
    return Message(RTM_GETLINK, NLM_F_DUMP, _ifinfo(), "list interfaces")


def dump_addresses() -> Message:
    """Ask for all addresses of both families."""
    return Message(RTM_GETADDR, NLM_F_DUMP, _IFADDR.pack(0, 0, 0, 0, 0), "list addresses")


def dump_routes() -> Message:
    """Ask for all routes of both families."""
    return Message(RTM_GETROUTE, NLM_F_DUMP, _RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0), "list routes")


def _address(index: int, cidr: str) -> bytes:
    interface = ipaddress.ip_interface(cidr)
    packed = interface.ip.packed
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    flags = IFA_F_NODAD if interface.version == 6 else 0
    body = _IFADDR.pack(family, interface.network.prefixlen, flags, 0, index)
    return body + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)


def add_address(index: int, cidr: str) -> Message:
    """Give an interface an address; there already is success.  IPv6 without duplicate detection."""
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    return Message(RTM_NEWADDR, flags, _address(index, cidr), f"add address {cidr} to interface {index}")


def remove_address(index: int, cidr: str) -> Message:
    """Take an address from an interface."""
    body = _address(index, cidr)
    return Message(RTM_DELADDR, NLM_F_ACK, body, f"remove address {cidr} from interface {index}")


def _route(destination: str, nexthop: str | None, index: int, protocol: int) -> bytes:
    network = ipaddress.ip_network(destination, strict=False)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    scope = RT_SCOPE_UNIVERSE if nexthop or network.version == 6 else RT_SCOPE_LINK
    body = _RTMSG.pack(family, network.prefixlen, 0, 0, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, 0)
    if network.prefixlen:
        body += attribute(RTA_DST, network.network_address.packed)
    if nexthop:
        gateway = ipaddress.ip_address(nexthop)
        if gateway.version != network.version:
            raise ValueError(f"route to {destination} by {nexthop}: different address families")
        body += attribute(RTA_GATEWAY, gateway.packed)
    if index:
        body += attribute(RTA_OIF, index)
    return body


def add_route(
    destination: str, nexthop: str | None, index: int = 0, protocol: int = RTPROT_STATIC
) -> Message:
    """Make a route, in place of another one to the same destination."""
    body = _route(destination, nexthop, index, protocol)
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    return Message(RTM_NEWROUTE, flags, body, f"add route to {destination} by {nexthop or index}")


def remove_route(destination: str, nexthop: str | None, index: int, protocol: int) -> Message:
    """Remove a route."""
    body = _route(destination, nexthop, index, protocol)
    return Message(RTM_DELROUTE, NLM_F_ACK, body, f"remove route to {destination}")


def read_link(body: bytes) -> Link:
    """Read one interface of a dump."""
    _family, _type, index, flags, _change = _IFINFO.unpack_from(body)
    found = attributes(body[_IFINFO.size :])
    master = found.get(IFLA_MASTER)
    return Link(
        index=index,
        name=found[IFLA_IFNAME].rstrip(b"\0").decode(),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        up=bool(flags & IFF_UP),
        master=struct.unpack("=I", master)[0] if master else 0,
    )


def read_address(body: bytes) -> tuple[int, str]:
    """Read one address of a dump: (interface index, CIDR)."""
    _family, prefix, _flags, _scope, index = _IFADDR.unpack_from(body)
    found = attributes(body[_IFADDR.size :])
    packed = found.get(IFA_LOCAL, found.get(IFA_ADDRESS, b""))
    return index, f"{ipaddress.ip_address(packed)}/{prefix}"


def read_route(body: bytes) -> KernelRoute | None:
    """Read one route of a dump; ``None`` for what is not a unicast route of the main table."""
    family, prefix, _src, _tos, table, protocol, _scope, kind, _flags = _RTMSG.unpack_from(body)
    found = attributes(body[_RTMSG.size :])
    if RTA_TABLE in found:
        (table,) = struct.unpack("=I", found[RTA_TABLE])
    if table != RT_TABLE_MAIN or kind != RTN_UNICAST or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    packed = found.get(RTA_DST, bytes(4 if family == socket.AF_INET else 16))
    gateway = found.get(RTA_GATEWAY)
    index = found.get(RTA_OIF)
    return KernelRoute(
        destination=f"{ipaddress.ip_address(packed)}/{prefix}",
        nexthop=str(ipaddress.ip_address(gateway)) if gateway else None,
        index=struct.unpack("=I", index)[0] if index else 0,
        protocol=protocol,
    )
