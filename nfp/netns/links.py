"""Bridges, the pairs that join namespaces to them, addresses and routes.

Every ``ensure_…`` may be repeated; blocking; call from a thread.  A *namespace* of ``None`` is
that of this process.  Whoever makes and removes bridges concurrently locks outside.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

from nfp.netns import messages, namespaces
from nfp.netns.inside import set_sysctls
from nfp.netns.messages import RTPROT_STATIC, Link
from nfp.netns.rtnetlink import RtNetlink, open_socket

_RTMGRP_LINK = 1

# While a link-local address is being checked for duplicates, the kernel forwards no IPv6 to
# neighbours that it does not know yet: the first two seconds of every interface.
_NO_DUPLICATE_DETECTION = {
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
}


@dataclass(frozen=True)
class Nic:
    """An interface of a namespace, joined to a bridge of the fabric.

    :ivar name: inside, ``eth1``.
    :ivar bridge: the bridge's name; made when it is not there.
    :ivar host_name: the near end's name in the fabric, unique there.
    :ivar mac: as Neutron writes it; ``None`` lets the kernel choose.
    :ivar addresses: with prefix length.
    """

    name: str
    bridge: str
    host_name: str
    mac: str | None = None
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class RouteSpec:
    """A route wanted.

    :ivar nexthop: ``None`` needs *interface*: the destination is directly there.
    """

    destination: str
    nexthop: str | None = None
    interface: str | None = None


def build(
    namespace: str,
    fabric: str | None,
    nics: Sequence[Nic],
    routes: Sequence[RouteSpec] = (),
    sysctls: Mapping[str, str] | None = None,
) -> None:
    """Make a namespace with interfaces, addresses and routes, or complete what is there of it.

    Interfaces that are not named stay as they are: with one more NIC this is how one is plugged.

    :param sysctls: written inside before the interfaces come.
    """
    namespaces.ensure(namespace)
    set_sysctls(namespace, {**_NO_DUPLICATE_DETECTION, **(sysctls or {})})
    with RtNetlink(namespace) as own:
        ensure_nics(own, namespace, fabric, nics)
        links = {link.name: link.index for link in own.links()}
        batch = [messages.set_up(links[nic.name]) for nic in nics]
        batch += [messages.add_address(links[nic.name], address) for nic in nics for address in nic.addresses]
        batch += [_route(links, route, RTPROT_STATIC) for route in routes]
        own.commit(batch)


def ensure_nics(own: RtNetlink, namespace: str, fabric: str | None, nics: Sequence[Nic]) -> None:
    """Make those pairs between the fabric and the namespace that are not right yet.

    :param own: open inside *namespace*.
    """
    if not nics:
        return
    file = namespaces.open_file(namespace)
    try:
        with RtNetlink(fabric) as near:
            masters = _bridges(near, {nic.bridge for nic in nics})
            there = {link.name: link for link in own.links()}
            near_ends = near.find(*(nic.host_name for nic in nics))
            batch = []
            for nic in nics:
                far, end = there.get(nic.name), near_ends.get(nic.host_name)
                if far and end and _same_mac(far, nic):
                    if end.master != masters[nic.bridge]:
                        batch.append(messages.set_master(end.index, masters[nic.bridge]))
                    continue
                # Half of an earlier try, or an interface of a namespace that is just dying.
                if end:
                    batch.append(messages.remove_link(nic.host_name))
                batch.append(
                    messages.make_veth(
                        nic.host_name, masters[nic.bridge], nic.name, file, nic.mac, nic.bridge
                    )
                )
            near.commit(batch)
    finally:
        os.close(file)


def _same_mac(link: Link, nic: Nic) -> bool:
    return nic.mac is None or link.mac == nic.mac.lower()


def _bridges(near: RtNetlink, names: Iterable[str]) -> dict[str, int]:
    wanted = sorted(names)
    batch = [messages.make_bridge(name) for name in wanted] + [messages.get_link(name) for name in wanted]
    found = [messages.read_link(reply.body) for reply in near.commit(batch)]
    return {link.name: link.index for link in found}


def ensure_bridge(namespace: str | None, name: str) -> None:
    """Make a bridge that is up, unless it is there."""
    with RtNetlink(namespace) as near:
        near.commit([messages.make_bridge(name)])


def bridge_ports(namespace: str | None, name: str) -> list[str]:
    """Names of a bridge's ports; none for a bridge that is not there."""
    with RtNetlink(namespace) as near:
        return _ports(near, name)


def _ports(near: RtNetlink, name: str) -> list[str]:
    bridge = near.find(name).get(name)
    if bridge is None:
        return []
    return sorted(link.name for link in near.links() if link.master == bridge.index)


def remove_bridge(namespace: str | None, name: str) -> bool:
    """Remove a bridge that has no port left; tells whether it is gone now."""
    with RtNetlink(namespace) as near:
        if _ports(near, name):
            return False
        near.commit([messages.remove_link(name)], ignore=(errno.ENODEV,))
        return True


def remove_link(namespace: str | None, name: str) -> bool:
    """Remove an interface, and with it its far end; tells whether it was there."""
    with RtNetlink(namespace) as near:
        try:
            near.commit([messages.remove_link(name)])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
    return True


def wait_gone(namespace: str | None, names: Iterable[str], timeout: float) -> None:
    """Wait until the interfaces have vanished, as near ends do when their namespace has died.

    :param timeout: seconds.
    :raises TimeoutError: naming those that are still there.
    """
    deadline = time.monotonic() + timeout
    # Listening begins before the first look, so no removal falls between the two.
    with open_socket(namespace, timeout, groups=_RTMGRP_LINK) as news, RtNetlink(namespace) as near:
        left = set(near.find(*names))
        while left:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"still there after {timeout:g} s: {', '.join(sorted(left))}")
            news.settimeout(remaining)
            left = _still_there(news, near, left)


def _still_there(news: socket.socket, near: RtNetlink, left: set[str]) -> set[str]:
    try:
        replies = list(messages.decode(news.recv(1 << 18)))
    except TimeoutError:
        return left
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return set(near.find(*left))
    gone = {messages.read_link(reply.body).name for reply in replies if reply.kind == messages.RTM_DELLINK}
    return set(near.find(*left)) if left & gone else left


def list_links(namespace: str | None) -> list[Link]:
    """All interfaces with their addresses, in the kernel's order."""
    with RtNetlink(namespace) as own:
        addresses = own.addresses()
        return [replace(link, addresses=tuple(addresses.get(link.index, ()))) for link in own.links()]


def ensure_addresses(namespace: str | None, wanted: Mapping[str, Sequence[str]]) -> None:
    """Make the addresses of interfaces equal to those wanted; surplus ones go, link-local ones stay.

    :param wanted: addresses with prefix length, by interface name; the interfaces are brought up.
    :raises OSError: ``ENODEV``, an interface is not there.
    """
    with RtNetlink(namespace) as own:
        links = {link.name: link.index for link in own.links()}
        present = own.addresses()
        batch = []
        for name, cidrs in wanted.items():
            index = _index(links, name)
            right = [str(ip_interface(cidr)) for cidr in cidrs]
            add = [messages.add_address(index, cidr) for cidr in right]
            surplus = [cidr for cidr in present.get(index, ()) if cidr not in right]
            batch += [messages.set_up(index), *add]
            batch += [messages.remove_address(index, cidr) for cidr in surplus]
            # Removing a primary address takes its secondaries along: say again what must stay.
            batch += add if surplus else []
        own.commit(batch, ignore=(errno.EADDRNOTAVAIL,))


def ensure_routes(namespace: str | None, wanted: Sequence[RouteSpec], protocol: int) -> None:
    """Make the routes of one *protocol* mark equal to those wanted; others are left alone."""
    with RtNetlink(namespace) as own:
        links = {link.name: link.index for link in own.links()}
        targets = {str(ip_network(route.destination, strict=False)) for route in wanted}
        batch = [_route(links, route, protocol) for route in wanted]
        for route in own.routes():
            if route.protocol == protocol and route.destination not in targets:
                batch.append(
                    messages.remove_route(route.destination, route.nexthop, route.index, route.protocol)
                )
        own.commit(batch, ignore=(errno.ESRCH,))


def list_routes(namespace: str | None, protocol: int | None = None) -> list[RouteSpec]:
    """Routes of the main table, of one *protocol* mark or of all."""
    with RtNetlink(namespace) as own:
        names = {link.index: link.name for link in own.links()}
        return [
            RouteSpec(route.destination, route.nexthop, names.get(route.index))
            for route in own.routes()
            if protocol is None or route.protocol == protocol
        ]


def _route(links: Mapping[str, int], route: RouteSpec, protocol: int) -> messages.Message:
    index = _index(links, route.interface) if route.interface else 0
    return messages.add_route(route.destination, route.nexthop, index, protocol)


def _index(links: Mapping[str, int], name: str) -> int:
    try:
        return links[name]
    except KeyError:
        raise OSError(errno.ENODEV, f"no interface {name}") from None
