"""Firewall configuration: Neutron's FWaaS attributes in, one canonical tree out.

Equal meaning gives an equal tree, and so an equal digest (I8), where that is cheap to see: the
order of keys, defaults left out or spelled out, a host address or its /32, a port written as a
number or as text.  Rules keep their order, for the first match wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NoReturn

from nfp.model.errors import Invalid

FIELD = "service_config"

ACTIONS = ("allow", "deny", "reject")
DEFAULT_ACTIONS = ("allow", "deny")
PORT_PROTOCOLS = ("tcp", "udp", "sctp")

_BY_NUMBER = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
_BY_NAME = {name: name for name in _BY_NUMBER.values()} | {"ipv6-icmp": "icmpv6"}
_ICMP_FAMILY = {"icmp": 4, "icmpv6": 6}

# What Neutron puts beside the attributes that mean something here.  Anything else is refused: a
# misspelt `destination_port` that is silently ignored would open every port.
_RULE_KEYS = frozenset(
    [
        "id",
        "name",
        "protocol",
        "ip_version",
        "source_ip_address",
        "destination_ip_address",
        "source_port",
        "destination_port",
        "action",
        "enabled",
        "position",
    ]
)
_RULE_NOISE = frozenset(
    ["description", "tenant_id", "project_id", "shared", "public", "firewall_policy_id", "firewall_policies"]
)
_FIREWALL_KEYS = frozenset(["rules", "firewall_rule_list", "default_action", "admin_state_up"])
_FIREWALL_NOISE = frozenset(
    [
        "id",
        "name",
        "description",
        "tenant_id",
        "project_id",
        "shared",
        "public",
        "status",
        "audited",
        "firewall_policy_id",
        "router_ids",
        "add-router-ids",
        "del-router-ids",
        "ports",
        "created_at",
        "updated_at",
    ]
)

_NAME_LIMIT = 255
_ID_LIMIT = 64
_POSITION_LIMIT = 2**31


def normalise(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write a firewall's configuration in its one canonical form.

    :param config: ``{"firewall": {"rules": […], "default_action", "admin_state_up"}}``.
    :return: the same shape with every attribute present: per rule ``id``, ``name``, ``protocol``
        (a name, a number or ``None`` for any), ``ip_version`` (4, 6 or ``None`` for both),
        ``source_ip_address`` and ``destination_ip_address`` (a CIDR or ``None`` for any),
        ``source_port`` and ``destination_port`` (``"80"``, ``"80:90"`` or ``None``), ``action``
        and ``enabled``.
    :raises Invalid: naming the field, ``service_config.firewall.rules[2].protocol``.
    """
    _object(config, FIELD)
    _known(config, FIELD, frozenset({"firewall"}), frozenset())
    where = f"{FIELD}.firewall"
    if "firewall" not in config:
        raise Invalid("is required", field=where)
    firewall = config["firewall"]
    _object(firewall, where)
    _known(firewall, where, _FIREWALL_KEYS, _FIREWALL_NOISE)
    return {
        "firewall": {
            "rules": _rules(firewall, where),
            "default_action": _word(
                firewall.get("default_action"), f"{where}.default_action", DEFAULT_ACTIONS, "deny"
            ),
            "admin_state_up": _boolean(firewall.get("admin_state_up"), f"{where}.admin_state_up", True),
        }
    }


def _rules(firewall: Mapping[str, Any], where: str) -> list[dict[str, object]]:
    if "rules" in firewall and "firewall_rule_list" in firewall:
        raise Invalid("expected either rules or firewall_rule_list, got both", field=f"{where}.rules")
    name = "firewall_rule_list" if "firewall_rule_list" in firewall else "rules"
    rules = firewall.get(name)
    if rules is None:
        rules = []
    if not isinstance(rules, list | tuple):
        _refuse(rules, f"{where}.{name}", "a list of rules")
    read = [_rule(rule, f"{where}.{name}[{number}]") for number, rule in enumerate(rules)]
    seen: set[str] = set()
    for number, (_, rule) in enumerate(read):
        identity = rule["id"]
        if isinstance(identity, str):
            if identity in seen:
                _refuse(identity, f"{where}.{name}[{number}].id", "an id that no other rule has")
            seen.add(identity)
    if all(position is not None for position, _ in read):
        read.sort(key=lambda pair: pair[0] or 0)
    return [rule for _, rule in read]


def _rule(rule: object, where: str) -> tuple[int | None, dict[str, object]]:
    """Read one rule; its position aside, for the list's order will say it."""
    _object(rule, where)
    assert isinstance(rule, Mapping)
    _known(rule, where, _RULE_KEYS, _RULE_NOISE)
    source = _network(rule.get("source_ip_address"), f"{where}.source_ip_address")
    destination = _network(rule.get("destination_ip_address"), f"{where}.destination_ip_address")
    protocol = _protocol(rule.get("protocol"), f"{where}.protocol")
    version = _version(rule.get("ip_version"), f"{where}.ip_version")
    version = _family(version, source, destination, where)
    protocol, version = _icmp(protocol, version, where)
    if "action" not in rule:
        raise Invalid(f"is required, one of {', '.join(ACTIONS)}", field=f"{where}.action")
    return _position(rule.get("position"), f"{where}.position"), {
        "id": _text(rule.get("id"), f"{where}.id", _ID_LIMIT),
        "name": _text(rule.get("name"), f"{where}.name", _NAME_LIMIT),
        "protocol": protocol,
        "ip_version": version,
        "source_ip_address": _cidr(source),
        "destination_ip_address": _cidr(destination),
        "source_port": _ports(rule.get("source_port"), f"{where}.source_port", protocol),
        "destination_port": _ports(rule.get("destination_port"), f"{where}.destination_port", protocol),
        "action": _word(rule["action"], f"{where}.action", ACTIONS, None),
        "enabled": _boolean(rule.get("enabled"), f"{where}.enabled", True),
    }


def _refuse(value: object, field: str, expected: str) -> NoReturn:
    got = repr(value)
    raise Invalid(f"expected {expected}, got {got if len(got) <= 80 else got[:79] + '…'}", field=field)


def _object(value: object, field: str) -> None:
    if not isinstance(value, Mapping):
        _refuse(value, field, "an object")


def _known(value: Mapping[str, object], where: str, meant: frozenset[str], noise: frozenset[str]) -> None:
    for name in value:
        if name not in meant and name not in noise:
            raise Invalid(
                f"is not an attribute here; expected one of {', '.join(sorted(meant))}",
                field=f"{where}.{name}",
            )


def _word(value: object, field: str, allowed: tuple[str, ...], default: str | None) -> str:
    if value is None and default is not None:
        return default
    if isinstance(value, str) and value.lower() in allowed:
        return value.lower()
    _refuse(value, field, f"one of {', '.join(allowed)}")


def _boolean(value: object, field: str, default: bool) -> bool:
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    # Heat templates carry booleans as text.
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    _refuse(value, field, "true or false")


def _whole(value: object) -> int | None:
    """A whole number written as one or as text; ``None`` when it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    return None


def _text(value: object, field: str, limit: int) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= limit and value.isprintable():
        return value
    _refuse(value, field, f"printable text of at most {limit} characters")


def _position(value: object, field: str) -> int | None:
    if value is None:
        return None
    number = _whole(value)
    if number is None or not 0 <= number < _POSITION_LIMIT:
        _refuse(value, field, "a whole number, 0 or more")
    return number


def _protocol(value: object, field: str) -> str | int | None:
    if value is None or (isinstance(value, str) and value.lower() == "any"):
        return None
    if isinstance(value, str) and value.lower() in _BY_NAME:
        return _BY_NAME[value.lower()]
    number = _whole(value)
    if number is None or not 0 <= number <= 255:
        _refuse(value, field, "tcp, udp, icmp, icmpv6, sctp, any or a protocol number from 0 to 255")
    return _BY_NUMBER.get(number, number)


def _version(value: object, field: str) -> int | None:
    if value is None:
        return None
    number = _whole(value)
    if number not in (4, 6):
        _refuse(value, field, "4 or 6")
    return number


def _network(value: object, field: str) -> IPv4Network | IPv6Network | None:
    if value is None:
        return None
    expected = "an IPv4 or IPv6 address or CIDR"
    if not isinstance(value, str):
        _refuse(value, field, expected)
    _, slash, length = value.partition("/")
    # ipaddress also takes netmasks and zones; devices do not.
    if "%" in value or (slash and not (length.isascii() and length.isdigit())):
        _refuse(value, field, expected)
    try:
        return ip_network(value, strict=False)
    except ValueError:
        _refuse(value, field, expected)


def _cidr(network: IPv4Network | IPv6Network | None) -> str | None:
    return None if network is None or network.prefixlen == 0 else str(network)


def _family(
    version: int | None,
    source: IPv4Network | IPv6Network | None,
    destination: IPv4Network | IPv6Network | None,
    where: str,
) -> int | None:
    """The IP version that a rule is about; ``None``: both."""
    for name, network in (("source_ip_address", source), ("destination_ip_address", destination)):
        if network is None:
            continue
        if version is None:
            version = network.version
        elif network.version != version:
            _refuse(
                str(network),
                f"{where}.{name}",
                f"an IPv{version} address or CIDR, as ip_version or the other address says",
            )
    return version


def _icmp(protocol: str | int | None, version: int | None, where: str) -> tuple[str | int | None, int | None]:
    """ICMP is two protocols; FWaaS writes ``icmp`` for both, the IP version tells."""
    if protocol == "icmp" and version == 6:
        return "icmpv6", 6
    if protocol == "icmpv6" and version == 4:
        _refuse("icmpv6", f"{where}.protocol", "icmp with IPv4")
    if isinstance(protocol, str) and protocol in _ICMP_FAMILY:
        return protocol, _ICMP_FAMILY[protocol]
    return protocol, version


def _ports(value: object, field: str, protocol: str | int | None) -> str | None:
    if value is None:
        return None
    expected = "a port from 1 to 65535 or a range like 80:90"
    first: int | None
    last: int | None
    if isinstance(value, str):
        low, separator, high = value.replace("-", ":").partition(":")
        first = _whole(low)
        last = _whole(high) if separator else first
    else:
        first = last = _whole(value)
    if first is None or last is None or not 1 <= first <= last <= 65535:
        _refuse(value, field, expected)
    if protocol not in PORT_PROTOCOLS:
        got = "any" if protocol is None else protocol
        raise Invalid(f"a port needs protocol {', '.join(PORT_PROTOCOLS)}, got {got}", field=field)
    return str(first) if first == last else f"{first}:{last}"
