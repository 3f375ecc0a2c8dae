"""Registers that commute (invariant I7): the order in which messages are consumed does not matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Stamp(NamedTuple):
    """When a register was written, and by which message; compares as a pair, the later wins.

    :ivar timestamp: the caller's ``_context_timestamp`` (absent: arrival), ISO 8601 in UTC.
    :ivar unique_id: ``_unique_id`` of the message; the larger wins a tie.
    """

    timestamp: str
    unique_id: str

    @classmethod
    def of(cls, timestamp: str, unique_id: str) -> Stamp:
        """Make a stamp; both ISO forms (``T`` or a blank in the middle) compare alike."""
        return cls(timestamp.replace("T", " ").removesuffix("Z").removesuffix("+00:00"), unique_id)


class Merged(NamedTuple):
    """What a message did to the registers.

    :ivar overtaken: fields whose register holds a later write already.
    """

    values: dict[str, Any]
    stamps: dict[str, list[str]]
    changed: frozenset[str]
    overtaken: frozenset[str]


def merge(
    values: Mapping[str, Any], stamps: Mapping[str, list[str]], incoming: Mapping[str, Any], stamp: Stamp
) -> Merged:
    """Write *incoming* into the registers *values*, each field on its own.

    :param stamps: per field the stamp of its last writer, as a list (JSON).
    """
    new_values, new_stamps = dict(values), dict(stamps)
    changed, overtaken = set(), set()
    for field, value in incoming.items():
        known = new_stamps.get(field)
        if known is not None and Stamp(*known) > stamp:
            overtaken.add(field)
            continue
        if field not in new_values or new_values[field] != value:
            changed.add(field)
        new_values[field] = value
        new_stamps[field] = list(stamp)
    return Merged(new_values, new_stamps, frozenset(changed), frozenset(overtaken))
