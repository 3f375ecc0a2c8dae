"""Tells a network's neighbours where an address is now, so that nobody waits for a cache to age.

IPv4 by gratuitous ARP (RFC 5227), IPv6 by unsolicited neighbour advertisement (RFC 4861, 7.2.6).
A neighbour that is asking at that very moment takes it for its answer.  Blocking.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_interface

from nfp.netns.inside import inside

_ETHERTYPE_ARP = 0x0806
_SIOCGIFHWADDR = 0x8927
_BROADCAST = b"\xff" * 6
_ALL_NODES = "ff02::1"
_ROUTER, _OVERRIDE = 0x80, 0x20
_ADVERTISEMENT, _TARGET_LINK_ADDRESS = 136, 2


def gratuitous_arp(mac: bytes, address: IPv4Address) -> bytes:
    """The frame that says: *address* is at *mac*."""
    header = _BROADCAST + mac + struct.pack("!H", _ETHERTYPE_ARP)
    return (
        header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address.packed + bytes(6) + address.packed
    )


def advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """The ICMPv6 message that says: *address* is at *mac*; the kernel fills in the checksum."""
    flags = _ROUTER | _OVERRIDE
    return (
        struct.pack("!BBHB3x", _ADVERTISEMENT, 0, 0, flags)
        + address.packed
        + struct.pack("!BB", _TARGET_LINK_ADDRESS, 1)
        + mac
    )


def announce(namespace: str | None, addresses: Mapping[str, Sequence[str]]) -> None:
    """Announce addresses on the interfaces that have them.

    :param addresses: with or without prefix length, by interface name; the interfaces are up.
    :raises OSError: an interface is not there, or cannot send.
    """

    def send() -> None:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            for name, texts in addresses.items():
                for text in texts:
                    address = ip_interface(text).ip
                    mac = _mac_of(raw, name)
                    if isinstance(address, IPv4Address):
                        raw.sendto(gratuitous_arp(mac, address), (name, _ETHERTYPE_ARP))
                    else:
                        _send_advertisement(name, mac, address)
        finally:
            # The kernel waits some 12 ms until nobody uses it any more; nobody has to wait for that.
            threading.Thread(target=raw.close, name="closing", daemon=True).start()

    if any(addresses.values()):
        inside(namespace, send)


def _mac_of(any_socket: socket.socket, name: str) -> bytes:
    request = struct.pack("256s", name.encode()[:15])
    return fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request)[18:24]


def _send_advertisement(name: str, mac: bytes, address: IPv6Address) -> None:
    index = socket.if_nametoindex(name)
    with socket.socket(
        socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6
    ) as sending:
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sending.bind((str(address), 0, 0, index))
        sending.sendto(advertisement(mac, address), (_ALL_NODES, 0, 0, index))
