"""The timeline of an object."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from nfp.daemon.journal import request_id
from nfp.manager.store import gathered, rows
from nfp.manager.store.tables import History

_TABLE: Any = History.__table__
MAX_REASON = 4096

_ADDING = sa.insert(_TABLE)


def add(connection: sa.Connection, object_id: str, event: str, reason: str = "") -> None:
    """Append to the timeline of *object_id*, under the request that is being worked on."""
    add_many(connection, [(object_id, event, reason)])


def add_many(connection: sa.Connection, entries: Iterable[tuple[str, str, str]]) -> None:
    """Append several ``(object_id, event, reason)`` at once."""
    now, asked_by = time.time(), request_id.get()
    entered = [
        {
            "object_id": object_id,
            "at": now,
            "event": event,
            "reason": reason[:MAX_REASON].replace("\0", ""),
            "request_id": None if asked_by is None else asked_by[:64],
        }
        for object_id, event, reason in entries
    ]
    if entered:
        gathered.add(connection, _ADDING, entered)


def of(connection: sa.Connection, object_id: str, limit: int = 1000) -> list[dict[str, Any]]:
    """Read the timeline of *object_id*, oldest first."""
    query = sa.select(_TABLE).where(_TABLE.c.object_id == object_id).order_by(_TABLE.c.id).limit(limit)
    return rows.every(connection, query)


def trim(connection: sa.Connection, before: float) -> int:
    """Forget what happened before *before* (epoch seconds); gives how many entries went."""
    gone: int = connection.execute(sa.delete(_TABLE).where(_TABLE.c.at < before)).rowcount
    return gone
