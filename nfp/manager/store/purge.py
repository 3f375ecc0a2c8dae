"""Forgets what nobody needs any more: messages, tombstones, history, updates whose create never came."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nfp.manager.store import history, rows
from nfp.manager.store.tables import AcceptedMessage, EarlyMessage, Tombstone

_MESSAGES: Any = AcceptedMessage.__table__
_TOMBSTONES: Any = Tombstone.__table__
_EARLY: Any = EarlyMessage.__table__

DAY = 86_400.0
EARLY = 600.0
HISTORY = 30 * DAY


def purge(connection: sa.Connection, now: float) -> list[str]:
    """Forget what is too old (``design.md`` section 3); times in epoch seconds.

    :return: ids of services whose early updates are lost: their create did not come within 10 minutes.
    """
    connection.execute(sa.delete(_MESSAGES).where(_MESSAGES.c.at < now - DAY))
    connection.execute(sa.delete(_TOMBSTONES).where(_TOMBSTONES.c.at < now - DAY))
    history.trim(connection, now - HISTORY)
    late = _EARLY.c.at < now - EARLY
    lost = [row["object_id"] for row in rows.every(connection, sa.select(_EARLY.c.object_id).where(late))]
    connection.execute(sa.delete(_EARLY).where(late))
    history.add_many(connection, [(object_id, "update lost", "no create came") for object_id in lost])
    return lost
