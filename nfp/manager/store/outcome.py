"""What recording a step's outcome changes in the object's own row, and whom it wakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True)
class Outcome:
    """What a recording changes.

    :ivar values: columns of the object's own row.
    :ivar wake: keys to be run because of it.
    :ivar gone: the row itself was removed.
    :ivar note: what history says beside the step's name.
    """

    values: dict[str, Any]
    wake: Sequence[str] = ()
    gone: bool = False
    note: str = ""


Recording = Callable[[sa.Connection, dict[str, Any]], Outcome]
"""Run in the recording transaction with the object's row, locked and fresh."""


@dataclass(frozen=True)
class Intent:
    """An effect whose result may arrive before whoever caused it could record it (I1).

    :ivar record: stores what is about to be done, before *effect*.
    :ivar effect: does it; gives what is to be corrected in the record, if anything is.
    :ivar undo: stores that it was not done, after *effect* failed.
    """

    record: Recording
    effect: Callable[[], Awaitable[Recording | None]]
    undo: Recording
