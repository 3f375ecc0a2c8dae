"""A firewall's tree written as one nftables transaction; pure.

Each service is a table of its own, ``inet nfp_…``; a packet passes when every table accepts it.
A **new flow** is judged by the rules in order.  One that is accepted gets the generation of the
ruleset as its conntrack mark, and packets whose flow bears the present generation pass at once,
in both directions and with what is related to them.  An update has a new generation, so each flow
is judged again at its next packet, by the tuple with which it began: what is no longer allowed
ends at once, what still is does not notice.

Chains are flushed and filled in the same transaction: no packet meets a half of it, and counters
keep their values.  Nothing of the tree is copied into the text: addresses, numbers and ports are
parsed and written anew, names become hashes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from nfp.model.digest import canonical

MANAGEMENT = "eth0"
ESTABLISHED, DEFAULT = "established", "default"
GENERATIONS = 0xFFFF
"""Generations are 1 to this; 0 is a flow that nobody has judged."""
SLOTS = (0, 1)
"""Halves of the conntrack mark; a service without one is judged packet by packet."""

GATE = "inet nfp_gate"

CLOSED = f"""add table {GATE}
add chain {GATE} forward {{ type filter hook forward priority 0; policy drop; }}
"""
"""Closes the gate: a table that drops all that is forwarded, so that nothing passes unjudged before
the first policy is in place, nor after the last one has gone."""
OPEN = f"add table {GATE}\ndelete table {GATE}\n"
"""Opens the gate, in the transaction that puts a policy in its place."""

_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r'comment "digest ([0-9a-f]{64})"')
_CHAINS = ("about", "allow", "refuse", "judge", "forward", "input")
_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
_VERDICTS = {"allow": "goto allow", "deny": "drop", "reject": "goto refuse"}


@dataclass(frozen=True)
class Counter:
    """A rule's counter.

    :ivar name: in the kernel.
    :ivar label: for people: the rule's id, else its name, else its place.
    """

    name: str
    label: str


def table_name(service_id: str) -> str:
    """The service's table: the first 12 digits of its UUID, or of the hash of any other id."""
    try:
        return f"nfp_{UUID(service_id).hex[:12]}"
    except ValueError:
        return f"nfp_{hashlib.sha256(service_id.encode()).hexdigest()[:12]}"


def next_generation(generation: int) -> int:
    """The generation after *generation*."""
    return generation % GENERATIONS + 1


def free_slot(taken: Collection[int | None]) -> int | None:
    """The first half of the mark that no other service of the device uses."""
    return next((slot for slot in SLOTS if slot not in taken), None)


def rules_of(firewall: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The rules that apply: none are those of a firewall that is administratively down."""
    if not firewall["admin_state_up"]:
        return []
    return [rule for rule in firewall["rules"] if rule["enabled"]]


def counters_of(firewall: Mapping[str, Any]) -> list[Counter]:
    """One counter for each rule that applies, in order; a rule keeps its own wherever it moves.

    :param firewall: canonical, as :func:`nfp.model.firewall.normalise` writes it.
    """
    found: list[Counter] = []
    labels: set[str] = {ESTABLISHED, DEFAULT}
    seen: dict[str, int] = {}
    for place, rule in enumerate(rules_of(firewall)):
        key = rule["id"] or canonical({**rule, "id": None})
        again = seen[key] = seen.get(key, -1) + 1
        name = f"c_{hashlib.sha256(f'{key}{chr(0)}{again}'.encode()).hexdigest()[:16]}"
        candidates = (rule["id"], rule["name"], f"rules[{place}]", name)
        label = next(label for label in candidates if label and label not in labels)
        labels.add(label)
        found.append(Counter(name, label))
    return found


def names_of(firewall: Mapping[str, Any]) -> frozenset[str]:
    """Names of all counters in the table of *firewall*."""
    return frozenset([ESTABLISHED, DEFAULT, *(counter.name for counter in counters_of(firewall))])


def script(
    service_id: str,
    firewall: Mapping[str, Any],
    *,
    digest: str,
    slot: int | None,
    generation: int,
    replaces: Mapping[str, Any] | None,
    management_address: str,
    anew: bool = False,
) -> str:
    """Write the transaction that makes the kernel's table equal to *firewall*.

    :param firewall: canonical, as :func:`nfp.model.firewall.normalise` writes it.
    :param digest: the name of the service's tree; it is found again in the kernel by :func:`digest_in`.
    :param slot: one of :data:`SLOTS`, this service's own, or ``None``.
    :param generation: another one than ever before on this device.
    :param replaces: the canonical firewall whose table is there, ``None`` when there is none.
    :param management_address: where the device answers; not reachable through data interfaces.
    :param anew: a table is there that is not known: remove it first.
    """
    if not _HEX.fullmatch(digest) or not 1 <= generation <= GENERATIONS or slot not in (*SLOTS, None):
        raise ValueError("digest, generation or slot is not one")
    table = f"inet {table_name(service_id)}"
    wanted = names_of(firewall)
    before = names_of(replaces) if replaces is not None and not anew else frozenset()
    lines = [f"add table {table}"]
    if anew:
        lines += [f"delete table {table}", f"add table {table}"]
    lines += [f"add chain {table} {chain}{_hook(chain)}" for chain in _CHAINS]
    lines += [f"flush chain {table} {chain}" for chain in _CHAINS]
    lines += [f"delete counter {table} {name}" for name in sorted(before - wanted)]
    lines += [f"add counter {table} {name}" for name in sorted(wanted - before)]
    lines += [f"table {table} {{"]
    for chain, rules in _chains(firewall, digest, slot, generation, management_address):
        lines += [f"chain {chain} {{", *rules, "}"]
    lines += ["}"]
    return "\n".join(lines) + "\n"


def removal(service_id: str) -> str:
    """Write the transaction that removes the service's table; not there is fine."""
    table = f"inet {table_name(service_id)}"
    return f"add table {table}\ndelete table {table}\n"


def digest_in(listing: str) -> str | None:
    """Read the digest back out of the kernel's listing."""
    found = _DIGEST.search(listing)
    return found.group(1) if found else None


def _hook(chain: str) -> str:
    if chain == "forward":
        return " { type filter hook forward priority 0; policy drop; }"
    if chain == "input":
        return " { type filter hook input priority 0; policy accept; }"
    return ""


def _chains(
    firewall: Mapping[str, Any], digest: str, slot: int | None, generation: int, management_address: str
) -> list[tuple[str, list[str]]]:
    mask, mark = _mark(slot, generation)
    known = [f"ct mark and {mask:#010x} == {mark:#010x} counter name {ESTABLISHED} accept"]
    judged = [f"ct mark set ct mark and {mask ^ 0xFFFFFFFF:#010x} or {mark:#010x}"]
    end = _VERDICTS[firewall["default_action"] if firewall["admin_state_up"] else "deny"]
    return [
        # A comment of a rule, not of the table: the kernel cannot change that of a table.
        ("about", [f'return comment "digest {digest}"']),
        ("allow", [*(judged if slot is not None else ()), "accept"]),
        ("refuse", ["meta l4proto tcp reject with tcp reset", "reject with icmpx admin-prohibited"]),
        (
            "judge",
            [
                *(
                    f"{_match(rule)}counter name {counter.name} {_VERDICTS[rule['action']]}"
                    for rule, counter in zip(rules_of(firewall), counters_of(firewall), strict=True)
                ),
                f"counter name {DEFAULT} {end}",
            ],
        ),
        (
            "forward",
            [
                f'iifname "{MANAGEMENT}" drop',
                f'oifname "{MANAGEMENT}" drop',
                *(known if slot is not None else ()),
                "ct state invalid drop",
                "goto judge",
            ],
        ),
        ("input", [_guard(management_address)]),
    ]


def _mark(slot: int | None, generation: int) -> tuple[int, int]:
    shift = 16 * (slot or 0)
    return GENERATIONS << shift, generation << shift


def _guard(management_address: str) -> str:
    address = ip_address(management_address)
    return f'iifname != {{ "lo", "{MANAGEMENT}" }} {_ip(address.version)} daddr {address} drop'


def _match(rule: Mapping[str, Any]) -> str:
    """The conditions of a rule, each by the flow's first packet."""
    words = []
    for side, key in (("saddr", "source_ip_address"), ("daddr", "destination_ip_address")):
        if rule[key] is not None:
            network = ip_network(rule[key])
            words.append(f"ct original {_ip(network.version)} {side} {network}")
    if rule["ip_version"] is not None and not words:
        words.append(f"meta nfproto {'ipv4' if rule['ip_version'] == 4 else 'ipv6'}")
    protocol = rule["protocol"]
    if protocol is not None:
        words.append(f"meta l4proto {_NUMBERS[protocol] if isinstance(protocol, str) else int(protocol)}")
    for side, key in (("proto-src", "source_port"), ("proto-dst", "destination_port")):
        if rule[key] is not None:
            words.append(f"ct original {side} {'-'.join(str(int(port)) for port in rule[key].split(':'))}")
    return "".join(f"{word} " for word in words)


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"
