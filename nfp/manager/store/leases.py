"""Who may act on an object (``design.md`` section 3; invariants I4 and I5).

A lease is taken, kept and given back by one conditional UPDATE each, whose row count decides.  Its
time is the database's, so that hosts whose clocks differ agree.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nfp.manager.store.base import clock
from nfp.manager.store.tables import AgentRecord, NetworkService, NetworkServiceDevice

CONVERGED: tuple[Any, ...] = (NetworkService.__table__, NetworkServiceDevice.__table__)
_AGENTS: Any = AgentRecord.__table__

AGENT_LIFE = 20.0
"""Seconds after its last report for which an agent counts as live."""


def take(connection: sa.Connection, table: Any, object_id: str, owner: str, seconds: float) -> int | None:
    """Take the lease of an object.

    :return: the fence of this taking, or ``None`` when another owner holds it or there is no such object.
    """
    now = clock()
    taken = connection.execute(
        sa.update(table)
        .where(
            table.c.id == object_id,
            sa.or_(table.c.lease_owner.is_(None), table.c.lease_owner == owner, table.c.lease_until < now),
        )
        .values(
            lease_owner=owner,
            lease_until=now + seconds,
            fence=table.c.fence + 1,
            uncertain_below=sa.case(
                (table.c.lease_owner.is_(None), table.c.uncertain_below), else_=table.c.fence + 1
            ),
        )
    )
    if taken.rowcount != 1:
        return None
    fence: int = connection.execute(sa.select(table.c.fence).where(table.c.id == object_id)).scalar_one()
    return fence


def renew(connection: sa.Connection, table: Any, object_id: str, fence: int, seconds: float) -> bool:
    """Keep a lease for *seconds* more; ``False``: it was lost."""
    kept = connection.execute(
        sa.update(table)
        .where(table.c.id == object_id, table.c.fence == fence, table.c.lease_owner.is_not(None))
        .values(lease_until=clock() + seconds)
    )
    return kept.rowcount == 1


def release(
    connection: sa.Connection, table: Any, object_id: str, fence: int, seen: int, values: dict[str, Any]
) -> bool:
    """Give a lease back, if nothing has happened since revision *seen* (I4).

    :param values: further columns to set, such as ``wake_at``.
    :return: ``False``: a new fact came, or the lease was lost; read again and go on.
    """
    given = connection.execute(
        sa.update(table)
        .where(table.c.id == object_id, table.c.fence == fence, table.c.revision == seen)
        .values(lease_owner=None, lease_until=None, converged_revision=seen, **values)
    )
    return given.rowcount == 1


def clear(connection: sa.Connection, owner_prefix: str) -> int:
    """End every lease of an owner that is known to be dead; gives how many there were.

    The owner's name stays: the next taking sees that the lease was not given back.
    """
    ended = 0
    for table in (*CONVERGED, _AGENTS):
        ended += connection.execute(
            sa.update(table)
            .where(table.c.lease_owner.startswith(owner_prefix, autoescape=True), table.c.lease_until > 0.0)
            .values(lease_until=0.0)
        ).rowcount
    return ended


def take_agent(connection: sa.Connection, host: str, owner: str, seconds: float) -> float | None:
    """Take, or keep, the lease of polling an agent.

    :return: 0.0: it is ours; else the seconds after which to try again; ``None``: the agent is not live.
    """
    now = clock()
    live = sa.and_(_AGENTS.c.host == host, _AGENTS.c.reported_at > now - AGENT_LIFE)
    free = sa.or_(
        _AGENTS.c.lease_owner.is_(None), _AGENTS.c.lease_owner == owner, _AGENTS.c.lease_until < now
    )
    taken = connection.execute(
        sa.update(_AGENTS).where(live, free).values(lease_owner=owner, lease_until=now + seconds)
    )
    if taken.rowcount == 1:
        return 0.0
    found = connection.execute(sa.select(_AGENTS.c.host).where(live)).first()
    return None if found is None else seconds / 2


def unsettled(connection: sa.Connection, table: Any) -> list[str]:
    """Ids of the objects that want to be looked at: new facts, or a wait that should be resumed."""
    query = sa.select(table.c.id).where(
        sa.or_(table.c.revision > table.c.converged_revision, table.c.wake_at.is_not(None))
    )
    return list(connection.execute(query).scalars())
