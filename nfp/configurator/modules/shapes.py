"""Shapes of the resources in a request's ``config``, and their check before it is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from nfp.model.errors import Invalid
from nfp.model.schemas import Schema, check

Request = Mapping[str, Any]

_MAC = {
    "type": "string",
    "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$",
    "description": "a MAC address like fa:16:3e:00:00:01",
}

_INTERFACES: Schema = {
    "type": "object",
    "required": ["interfaces"],
    "properties": {
        "interfaces": {
            "type": "array",
            "maxItems": 64,
            "items": {
                "type": "object",
                "required": ["name", "mac", "addresses"],
                "properties": {
                    "port_id": {"type": "string", "maxLength": 64},
                    "name": {
                        "type": "string",
                        "pattern": "^[A-Za-z0-9_.-]{1,15}$",
                        "description": "an interface name of at most 15 characters",
                    },
                    "mac": _MAC,
                    "addresses": {"type": "array", "maxItems": 64, "items": {"type": "string"}},
                    "role": {"enum": ["provider", "consumer"]},
                },
            },
        }
    },
}

_ROUTES: Schema = {
    "type": "object",
    "required": ["routes"],
    "properties": {
        "routes": {
            "type": "array",
            "maxItems": 1024,
            "items": {
                "type": "object",
                "required": ["destination", "nexthop"],
                "properties": {"destination": {"type": "string"}, "nexthop": {"type": "string"}},
            },
        }
    },
}

_SECONDS = {"type": "number", "minimum": 0.05, "maximum": 3600, "description": "0.05 to 3600 seconds"}
_PROBES = {"type": "integer", "minimum": 1, "maximum": 100, "description": "1 to 100 probes"}

_MONITOR: Schema = {
    "type": "object",
    "required": ["monitor"],
    "properties": {
        "monitor": {
            "type": "object",
            "required": ["interval", "timeout", "fall", "rise", "level"],
            "properties": {
                "interval": _SECONDS,
                "timeout": _SECONDS,
                "fall": _PROBES,
                "rise": _PROBES,
                "level": {"enum": ["management", "config", "service"]},
            },
        }
    },
}

_SIDE = {
    "type": ["object", "null"],
    "properties": {
        "mac": {"anyOf": [{"type": "null"}, _MAC], "description": "a MAC address or null"},
        "cidrs": {"type": "array", "maxItems": 1024, "items": {"type": "string"}},
    },
}

_FIREWALL: Schema = {
    "type": "object",
    "required": ["firewall"],
    "properties": {"firewall": {"type": "object"}, "provider": _SIDE, "consumer": _SIDE},
}


def check_device(request: Request) -> None:
    """Check the ``interfaces`` and ``routes`` of a device.

    :raises Invalid: naming the field.
    """
    for number, item in enumerate(request["config"]):
        where = f"config[{number}].resource_data"
        data = item["resource_data"]
        match item["resource"]:
            case "interfaces":
                check(data, _INTERFACES, where)
                for index, interface in enumerate(data["interfaces"]):
                    each = f"{where}.interfaces[{index}].addresses"
                    _all(ip_interface, interface["addresses"], each, "an address with prefix length")
            case "routes":
                check(data, _ROUTES, where)
                for index, route in enumerate(data["routes"]):
                    each = f"{where}.routes[{index}]"
                    _one(ip_network, route["destination"], f"{each}.destination", "a CIDR")
                    _one(ip_address, route["nexthop"], f"{each}.nexthop", "an address")
            case other:
                raise Invalid(
                    f"expected interfaces or routes, got {other!r}", field=f"config[{number}].resource"
                )


def check_monitor(request: Request) -> None:
    """Check the ``healthmonitor`` of a device.

    :raises Invalid: naming the field.
    """
    only(request, "healthmonitor")
    check(request["config"][0]["resource_data"], _MONITOR, "config[0].resource_data")


def check_firewall(request: Request) -> None:
    """Check the shape of a ``firewall``; its rules are :func:`nfp.model.firewall.normalise`'s.

    :raises Invalid: naming the field.
    """
    only(request, "firewall")
    data = request["config"][0]["resource_data"]
    where = "config[0].resource_data"
    check(data, _FIREWALL, where)
    for side in ("provider", "consumer"):
        cidrs = (data.get(side) or {}).get("cidrs") or []
        _all(ip_network, cidrs, f"{where}.{side}.cidrs", "a CIDR")


def only(request: Request, resource: str) -> None:
    """Demand that *resource* is all that the request is about.

    :raises Invalid: naming the field.
    """
    for number, item in enumerate(request["config"]):
        if item["resource"] != resource:
            raise Invalid(
                f"expected {resource}, got {item['resource']!r}", field=f"config[{number}].resource"
            )
    if len(request["config"]) != 1:
        raise Invalid(f"expected one item, got {len(request['config'])}", field="config")


def _all(read: Callable[[str], object], values: list[str], where: str, expected: str) -> None:
    for number, value in enumerate(values):
        _one(read, value, f"{where}[{number}]", expected)


def _one(read: Callable[[str], object], value: str, field: str, expected: str) -> None:
    try:
        read(value)
    except ValueError:
        raise Invalid(f"expected {expected}, got {value[:80]!r}", field=field) from None
