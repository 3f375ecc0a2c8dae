"""What the store knows of the agent: the proof that the whole road stands, from broker to configurator."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from nfp.manager.store.engine import make_engine
from nfp.manager.store.tables import AgentRecord


@dataclass(frozen=True)
class Report:
    """An agent's last report.

    :ivar unreachable: names of configurators that it does not reach.
    """

    boot_id: str
    unreachable: tuple[str, ...]


def last_report(connection_url: str, host: str) -> Report | None:
    """The last report of the agent on *host*; blocking."""
    engine = make_engine(connection_url)
    try:
        with engine.connect() as connection:
            row = connection.execute(
                sa.select(AgentRecord.boot_id, AgentRecord.configurators).where(AgentRecord.host == host)
            ).first()
    finally:
        engine.dispose()
    if row is None:
        return None
    configurators: list[dict[str, object]] = row.configurators
    return Report(
        row.boot_id, tuple(str(known.get("name")) for known in configurators if not known.get("reachable"))
    )
