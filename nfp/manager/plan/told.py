"""What the configurator was told of a device, and what has come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Told:
    """What the configurator was told last about one thing, and what came back.

    :ivar key: names what was told: digest of its inputs.
    :ivar about: for a service, the digest of the spec in it.
    :ivar expects: the digest that the device should give back (I8).
    :ivar order: ``[fence, revision]`` of the request (I5).
    :ivar since: the first order from which on nothing else was told; a result from before it is of another.
    :ivar pending: whether its result is still to come.
    :ivar boot: boot id of the configurator that took it.
    :ivar deadline: epoch seconds by which the result should be there.
    :ivar applied: the key whose digest was read back, with its spec; ``None`` while nothing was.
    :ivar refused: the key that was refused for good, with its spec and the device's reason.
    """

    key: str | None = None
    about: str | None = None
    expects: str | None = None
    order: tuple[int, ...] = ()
    since: tuple[int, ...] = ()
    pending: bool = False
    boot: str | None = None
    deadline: float = 0.0
    applied: str | None = None
    applied_about: str | None = None
    refused: str | None = None
    refused_about: str | None = None
    refusal: str = ""


def telling(told: Told, known: Told) -> Told:
    """What is recorded when *told* is about to be told over what is *known* (I8).

    A digest that was read back before something else was told says nothing about the device any more.
    """
    again = known.key == told.key
    overwritten = (known.applied == told.key and not again) or (
        known.applied_about == told.about and known.about != told.about
    )
    return replace(
        told,
        pending=True,
        since=known.since if again and known.boot == told.boot else told.order,
        applied=None if overwritten else known.applied,
        applied_about=None if overwritten else known.applied_about,
    )


def told_of(value: Mapping[str, Any] | None) -> Told:
    """Read a :class:`Told` from the store's JSON."""
    if not value:
        return Told()
    return Told(**{**value, "order": tuple(value["order"]), "since": tuple(value.get("since") or ())})
