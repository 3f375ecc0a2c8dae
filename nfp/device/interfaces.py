"""Addresses and routes of a device: interfaces are found by MAC, never by name.

Only what a tree names is touched, and routes that an earlier tree made; never the management
interface and what the lifecycle driver gave the namespace.  Blocking, but for the pure parts.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from typing import Any

from nfp.model.errors import Invalid, Transient
from nfp.model.schemas import check
from nfp.netns import links
from nfp.netns.announce import announce
from nfp.netns.inside import set_sysctls
from nfp.netns.links import RouteSpec
from nfp.netns.messages import RTPROT_NFP, Link, mac_bytes

_TEXT = {"type": "string", "maxLength": 64}

TREE: Mapping[str, object] = {
    "type": "object",
    "required": ["interfaces", "routes"],
    "properties": {
        "interfaces": {
            "type": "array",
            "maxItems": 256,
            "items": {
                "type": "object",
                "required": ["mac", "addresses"],
                "properties": {
                    "mac": {"type": "string", "maxLength": 17},
                    "addresses": {
                        "type": "array",
                        "maxItems": 64,
                        "items": _TEXT,
                    },
                },
            },
        },
        "routes": {
            "type": "array",
            "maxItems": 4096,
            "items": {
                "type": "object",
                "required": ["destination", "nexthop"],
                "properties": {
                    "destination": _TEXT,
                    "nexthop": _TEXT,
                },
            },
        },
    },
}
"""Schema of a device's tree; more attributes may be there and belong to the digest."""

EMPTY: Mapping[str, Any] = {"interfaces": [], "routes": []}

_SYSCTLS = {
    # What is forwarded is judged by the services' rulesets, or dropped by the gate.
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    # Else the kernel takes a subnet's other addresses along when it loses the first.
    "net/ipv4/conf/all/promote_secondaries": "1",
}

_MANAGEMENT = ("lo", "eth0")


def check_tree(tree: object) -> None:
    """Check a device's tree.

    :raises Invalid: naming the field.
    """
    check(tree, TREE, "tree")
    assert isinstance(tree, Mapping)
    seen: set[str] = set()
    for number, interface in enumerate(tree["interfaces"]):
        where = f"tree.interfaces[{number}]"
        _parsed(mac_bytes, interface["mac"], f"{where}.mac")
        if interface["mac"].lower() in seen:
            raise Invalid("is the MAC of another interface too", field=f"{where}.mac")
        seen.add(interface["mac"].lower())
        for place, address in enumerate(interface["addresses"]):
            _parsed(ip_interface, address, f"{where}.addresses[{place}]")
    for number, route in enumerate(tree["routes"]):
        _parsed(_route, route, f"tree.routes[{number}]")


def _parsed(parse: Any, value: object, field: str) -> None:
    try:
        parse(value)
    except ValueError as error:
        raise Invalid(str(error), field=field) from None


def _route(route: Mapping[str, str]) -> None:
    destination = ip_network(route["destination"], strict=False)
    if ip_interface(route["nexthop"]).version != destination.version or "/" in route["nexthop"]:
        raise ValueError("expected a nexthop address of the destination's IP version")


def apply(namespace: str | None, tree: Mapping[str, Any], before: Mapping[str, Any] = EMPTY) -> None:
    """Make addresses and routes equal to *tree*.

    :param before: the tree that was applied last: interfaces that are no longer in it lose their
        addresses.
    :raises Transient: an interface is not there (yet), or the kernel refused.
    """
    by_mac = _by_mac(links.list_links(namespace))
    wanted: dict[str, Sequence[str]] = {}
    for interface in before["interfaces"]:
        link = by_mac.get(interface["mac"].lower())
        if link is not None:
            wanted[link.name] = ()
    for interface in tree["interfaces"]:
        link = by_mac.get(interface["mac"].lower())
        if link is None:
            raise Transient(f"there is no interface with MAC {interface['mac']}")
        wanted[link.name] = tuple(interface["addresses"])
    set_sysctls(namespace, _SYSCTLS)
    try:
        links.ensure_addresses(namespace, wanted)
        links.ensure_routes(
            namespace,
            [RouteSpec(route["destination"], route["nexthop"]) for route in tree["routes"]],
            RTPROT_NFP,
        )
        announce(namespace, wanted)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        raise Transient(f"{error.strerror}") from error


def differences(tree: Mapping[str, Any], present: Iterable[Link], routes: Iterable[RouteSpec]) -> list[str]:
    """Say what of *tree* is not so; pure.

    :param present: the interfaces, with their addresses.
    :param routes: those that a tree made.
    """
    found = []
    by_mac = _by_mac(present)
    for interface in tree["interfaces"]:
        link = by_mac.get(interface["mac"].lower())
        if link is None:
            found.append(f"no interface with MAC {interface['mac']}")
            continue
        if not link.up:
            found.append(f"{link.name} is down")
        wanted = {str(ip_interface(address)) for address in interface["addresses"]}
        there = {str(ip_interface(address)) for address in link.addresses}
        found += [f"{link.name} lacks {address}" for address in sorted(wanted - there)]
        found += [f"{link.name} also has {address}" for address in sorted(there - wanted)]
    asked = {_key(route["destination"], route["nexthop"]) for route in tree["routes"]}
    have = {_key(route.destination, route.nexthop) for route in routes}
    found += [f"no route to {destination} by {hop}" for destination, hop in sorted(asked - have)]
    found += [f"also a route to {destination} by {hop}" for destination, hop in sorted(have - asked)]
    return found


def drift(namespace: str | None, tree: Mapping[str, Any]) -> list[str]:
    """Say what of *tree* is not so in the kernel."""
    return differences(tree, links.list_links(namespace), links.list_routes(namespace, RTPROT_NFP))


def _key(destination: str, nexthop: str | None) -> tuple[str, str]:
    hop = str(ip_interface(nexthop).ip) if nexthop else ""
    return str(ip_network(destination, strict=False)), hop


def _by_mac(present: Iterable[Link]) -> dict[str, Link]:
    return {link.mac: link for link in present if link.mac and link.name not in _MANAGEMENT}
