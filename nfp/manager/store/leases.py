"""Who may act on an object (``design.md`` section 3; invariants I4 and I5).

A lease is taken by one conditional UPDATE, whose row count decides; it is kept and given back on the
locked row, where owner and fence are compared.  Its time is the database's, so that hosts whose clocks
differ agree.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from nfp.manager.store.base import clock
from nfp.manager.store.tables import AgentRecord, NetworkService, NetworkServiceDevice

CONVERGED: tuple[Any, ...] = (NetworkService.__table__, NetworkServiceDevice.__table__)
_AGENTS: Any = AgentRecord.__table__

AGENT_LIFE = 20.0
"""Seconds after its last report for which an agent counts as live."""


def take(connection: sa.Connection, table: Any, object_id: str, owner: str, seconds: float) -> bool:
    """Take the lease of an object; its row's ``fence`` is the number of this taking from then on.

    :return: ``False``: another owner holds it, or there is no such object.
    """
    taken = connection.execute(_taking(table), {"row_id": object_id, "owner": owner, "seconds": seconds})
    return taken.rowcount == 1


@lru_cache(maxsize=8)
def _taking(table: Any) -> Any:
    now = clock()
    owner = sa.bindparam("owner", type_=sa.String())
    free = sa.or_(table.c.lease_owner.is_(None), table.c.lease_owner == owner, table.c.lease_until < now)
    unsure = sa.case((table.c.lease_owner.is_(None), table.c.uncertain_below), else_=table.c.fence + 1)
    return (
        sa.update(table)
        .where(table.c.id == sa.bindparam("row_id"), free)
        .values(
            lease_owner=owner,
            lease_until=now + sa.bindparam("seconds", type_=sa.Double()),
            fence=table.c.fence + 1,
            uncertain_below=unsure,
        )
    )


def settle(connection: sa.Connection, table: Any, object_id: str, seen: int, values: dict[str, Any]) -> bool:
    """Note that an object that nobody works on needs nothing as of revision *seen* (I4).

    :return: ``False``: a new fact came, or somebody works on it.
    """
    noted = connection.execute(
        _settling(table),
        {"row_id": object_id, "seen": seen, "wake": values["wake_at"], "why": values["waiting_for"]},
    )
    return noted.rowcount == 1


@lru_cache(maxsize=8)
def _settling(table: Any) -> Any:
    seen = sa.bindparam("seen", type_=sa.BigInteger())
    return (
        sa.update(table)
        .where(table.c.id == sa.bindparam("row_id"), table.c.revision == seen, table.c.lease_owner.is_(None))
        .values(
            converged_revision=seen,
            wake_at=sa.bindparam("wake", type_=sa.Double()),
            waiting_for=sa.bindparam("why", type_=sa.Text()),
        )
    )


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
