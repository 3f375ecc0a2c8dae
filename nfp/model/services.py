"""A network service as callers write it, checked, and as drivers see it (``contract.md`` sections 2, 3).

A service's wanted state is a set of *registers*, one per field of ``network_service``; what a driver
gets is derived from them here, so that nothing derived is ever stored.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from nfp.model.devices import CONSUMER, PROVIDER, NetworkServiceSpec, Port, Route
from nfp.model.errors import Invalid
from nfp.model.firewall import normalise as normalise_firewall
from nfp.model.schemas import Schema, check
from nfp.model.states import ServiceType

_TEXT = {"type": "string", "maxLength": 255}
_LONG_TEXT = {"type": "string", "maxLength": 1024}
_ID = {"type": "string", "minLength": 1, "maxLength": 36, "description": "an id of 1 to 36 characters"}
_NULLABLE_ID = {"type": ["string", "null"], "maxLength": 36, "description": "an id of at most 36 characters"}
_NAMED_ID = {"type": "string", "minLength": 1, "maxLength": 255}

_PORT = {
    "type": "object",
    "required": ["id", "network_id"],
    "properties": {
        "id": _NAMED_ID,
        "network_id": _NAMED_ID,
        "mac_address": {
            "type": ["string", "null"],
            "pattern": "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$",
            "description": "a MAC address, aa:bb:cc:dd:ee:ff",
        },
        "fixed_ips": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["ip_address"],
                "properties": {"ip_address": {"type": "string"}, "subnet_id": {"type": ["string", "null"]}},
            },
        },
    },
}

_SUBNET = {
    "type": ["object", "null"],
    "required": ["id", "cidr"],
    "properties": {
        "id": _NAMED_ID,
        "cidr": {"type": "string"},
        "gateway_ip": {"type": ["string", "null"]},
        "network_id": {"type": ["string", "null"]},
    },
}

_SIDE = {
    "type": ["object", "null"],
    "properties": {
        "pt": {"type": ["array", "null"]},
        "ptg": {"type": ["array", "null"]},
        "port": {"type": ["array", "null"], "items": _PORT},
        "subnet": _SUBNET,
        "port_model": {"enum": ["neutron_port", "gbp_policy_target", None]},
        "port_classification": {"enum": [PROVIDER, CONSUMER, "management", None]},
    },
}

_PROFILE = {
    "type": "object",
    "required": ["service_type"],
    "properties": {
        "service_type": {"type": "string", "description": "a service type"},
        "service_flavor": {"type": ["string", "null"]},
        "vendor": {"type": ["string", "null"]},
        "insertion_mode": {"type": ["string", "null"]},
    },
}

REGISTERS: Mapping[str, Schema] = {
    "name": _TEXT,
    "description": _LONG_TEXT,
    "service_profile_id": _NULLABLE_ID,
    "service_profile": _PROFILE,
    "service_config": {"type": ["object", "string", "null"], "description": "a JSON object, or a string"},
    "provider": _SIDE,
    "consumer": _SIDE,
    "management": _SIDE,
    "chain_parameters": {"type": ["object", "null"]},
    "position": {"type": ["integer", "null"]},
}
"""The fields that an update may change, each with its schema."""

IDENTITY: Mapping[str, Schema] = {
    "id": {
        "type": "string",
        "pattern": "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
        "description": "a UUID",
    },
    "tenant_id": {"type": "string", "minLength": 1, "maxLength": 64, "description": "a tenant id"},
    "service_id": _ID,
    "service_chain_id": _NULLABLE_ID,
}
"""The fields that say which service it is; set by the create, then fixed."""

CREATE_SCHEMA: Schema = {
    "type": "object",
    "required": ["tenant_id", "service_id", "service_profile", "service_config"],
    "properties": {**IDENTITY, **REGISTERS},
}

UPDATE_SCHEMA: Schema = {"type": "object", "minProperties": 1, "properties": {**IDENTITY, **REGISTERS}}


def check_create(value: object) -> None:
    """Check the ``network_service`` of a create.

    :raises Invalid: naming the field under ``network_service``.
    """
    check(value, CREATE_SCHEMA, "network_service")


def check_update(value: object) -> None:
    """Check the ``network_service`` of an update: any of the registers.

    :raises Invalid: naming the field under ``network_service``.
    """
    check(value, UPDATE_SCHEMA, "network_service")


def flavor_of(profile: Mapping[str, Any]) -> dict[str, str]:
    """Parse ``service_flavor``: a bare vendor, or ``k=v,k=v`` (``contract.md`` section 2)."""
    text = (profile.get("service_flavor") or "").strip()
    if not text:
        return {}
    if "=" not in text:
        return {"service_vendor": text}
    pairs = (item.partition("=") for item in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def parse_config(value: object) -> dict[str, Any]:
    """Read ``service_config``: a JSON object, or its text.

    :raises Invalid: it is neither.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Invalid(f"is not JSON: {error}", field="service_config") from None
    if not isinstance(value, dict):
        raise Invalid("expected a JSON object", field="service_config")
    return value


def _vendor(profile: Mapping[str, Any], vendors: Mapping[str, str]) -> str:
    named = flavor_of(profile).get("service_vendor") or profile.get("vendor") or ""
    return vendors.get(named) or vendors.get("*") or named


def _cidr(subnet: Mapping[str, Any], field: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(subnet["cidr"], strict=False)
    except ValueError as error:
        raise Invalid(f"expected a CIDR: {error}", field=f"{field}.subnet.cidr") from None


def _address(text: str, field: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise Invalid(f"expected an IP address: {error}", field=field) from None


def _ports(side: Mapping[str, Any] | None, classification: str) -> tuple[Port, ...]:
    if not side:
        return ()
    subnet = side.get("subnet")
    network = _cidr(subnet, classification) if subnet else None
    ports = []
    for index, port in enumerate(side.get("port") or ()):
        addresses = []
        for number, fixed in enumerate(port.get("fixed_ips") or ()):
            address = _address(
                fixed["ip_address"], f"{classification}.port[{index}].fixed_ips[{number}].ip_address"
            )
            if network is not None and address in network:
                length = network.prefixlen
            else:
                length = address.max_prefixlen
            addresses.append(f"{address}/{length}")
        mac = port.get("mac_address")
        ports.append(
            Port(
                id=port["id"],
                backend_id=port["id"],
                network_id=port["network_id"],
                classification=classification,
                mac_address=mac.lower() if mac else None,
                addresses=tuple(addresses),
            )
        )
    return tuple(ports)


def _routes(side: Mapping[str, Any] | None, ports: tuple[Port, ...]) -> tuple[Route, ...]:
    """The default route of a gateway leads to its consumer side, unless it is that gateway itself."""
    subnet = (side or {}).get("subnet") or {}
    gateway = subnet.get("gateway_ip")
    if not gateway or not ports:
        return ()
    address = _address(gateway, f"{CONSUMER}.subnet.gateway_ip")
    own = {text.partition("/")[0] for port in ports for text in port.addresses}
    if str(address) in own:
        return ()
    return (Route("0.0.0.0/0" if address.version == 4 else "::/0", str(address)),)


def spec_of(
    identity: Mapping[str, Any], registers: Mapping[str, Any], vendors: Mapping[str, str]
) -> NetworkServiceSpec:
    """Derive what drivers see from a service's wanted state.

    :param identity: ``id``, ``tenant_id``, ``service_chain_id``.
    :param registers: the fields of :data:`REGISTERS`.
    :param vendors: vendor named in a profile → vendor that serves it here; ``*`` stands for all others.
    :raises Invalid: naming the field.
    """
    profile = registers.get("service_profile") or {}
    service_type = str(profile.get("service_type") or "").upper()
    if service_type != ServiceType.FIREWALL:
        raise Invalid(
            f"unknown service type {str(profile.get('service_type'))[:64]!r}; known: {ServiceType.FIREWALL}",
            field="service_profile.service_type",
        )
    mode = (profile.get("insertion_mode") or "l3").lower()
    if mode != "l3":
        raise Invalid(
            f"insertion mode {mode[:16]!r} is not supported yet", field="service_profile.insertion_mode"
        )
    config = normalise_firewall(parse_config(registers.get("service_config")))
    provider, consumer = registers.get("provider"), registers.get("consumer")
    provider_ports, consumer_ports = _ports(provider, PROVIDER), _ports(consumer, CONSUMER)
    for side, ports in ((PROVIDER, provider_ports), (CONSUMER, consumer_ports)):
        if not ports:
            raise Invalid("a gateway needs a port on this side", field=f"{side}.port")
    subnets = [(side or {}).get("subnet") for side in (provider, consumer)]
    cidrs = [
        (str(_cidr(subnet, name)),) if subnet else ()
        for subnet, name in zip(subnets, (PROVIDER, CONSUMER), strict=True)
    ]
    return NetworkServiceSpec(
        id=identity["id"],
        tenant_id=identity["tenant_id"],
        service_type=service_type,
        service_vendor=_vendor(profile, vendors),
        config=config,
        ports=provider_ports + consumer_ports,
        service_chain_id=identity.get("service_chain_id"),
        insertion_mode=mode,
        provider_cidrs=cidrs[0],
        consumer_cidrs=cidrs[1],
        routes=_routes(consumer, consumer_ports),
    )
