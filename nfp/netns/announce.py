"""Tells a network's neighbours where an address is now, so that nobody waits for a cache to age.

IPv4 by gratuitous ARP (RFC 5227), IPv6 by unsolicited neighbour advertisement (RFC 4861, 7.2.6).
A neighbour that is asking at that very moment takes it for its answer.  Blocking.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_interface

from nfp.netns.inside import inside

_ETHERTYPE_ARP = 0x0806
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
        for name, texts in addresses.items():
            for text in texts:
                address = ip_interface(text).ip
                if isinstance(address, IPv4Address):
                    _send_arp(name, address)
                else:
                    _send_advertisement(name, address)

    if any(addresses.values()):
        inside(namespace, send)


def _send_arp(name: str, address: IPv4Address) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as raw:
        raw.bind((name, _ETHERTYPE_ARP))
        raw.send(gratuitous_arp(raw.getsockname()[4], address))


def _send_advertisement(name: str, address: IPv6Address) -> None:
    index = socket.if_nametoindex(name)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as raw:
        raw.bind((name, 0))
        mac = raw.getsockname()[4]
    with socket.socket(
        socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6
    ) as sending:
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sending.bind((str(address), 0, 0, index))
        sending.sendto(advertisement(mac, address), (_ALL_NODES, 0, 0, index))
