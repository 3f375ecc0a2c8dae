"""What the manager remembers beside its objects: messages, tombstones, history, agents, hosts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from nfp.manager.store.base import Base, Identity, Json


class AcceptedMessage(Base):
    """A message that was stored; a redelivery finds it and changes nothing (kept 24 h)."""

    __tablename__ = "accepted_messages"

    unique_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    at: Mapped[float] = mapped_column(sa.Double, index=True)
    object_id: Mapped[str | None] = mapped_column(Identity)


class Tombstone(Base):
    """A deleted service's id, so that an overtaken create does not bring it back (kept 24 h)."""

    __tablename__ = "tombstones"

    id: Mapped[str] = mapped_column(Identity, primary_key=True)
    at: Mapped[float] = mapped_column(sa.Double, index=True)


class EarlyMessage(Base):
    """An update that overtook its create; applied when the create comes, shown as lost after 10 min."""

    __tablename__ = "early_messages"

    unique_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    object_id: Mapped[str] = mapped_column(Identity, index=True)
    at: Mapped[float] = mapped_column(sa.Double, index=True)
    stamp: Mapped[list[str]] = mapped_column(Json)
    changes: Mapped[dict[str, Any]] = mapped_column(Json)


class History(Base):
    """One thing that happened to an object: an accepted request, a step, a retry, a change of state."""

    __tablename__ = "history"

    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    object_id: Mapped[str] = mapped_column(Identity, index=True)
    at: Mapped[float] = mapped_column(sa.Double, index=True)
    event: Mapped[str] = mapped_column(sa.String(64))
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    request_id: Mapped[str | None] = mapped_column(sa.String(64))


class AgentRecord(Base):
    """A Configurator Agent as it last reported itself (``contract.md`` section 3)."""

    __tablename__ = "agents"

    host: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    boot_id: Mapped[str] = mapped_column(sa.String(64))
    reported_at: Mapped[float] = mapped_column(sa.Double)
    configurators: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    lease_owner: Mapped[str | None] = mapped_column(sa.String(255))
    lease_until: Mapped[float | None] = mapped_column(sa.Double)


class ManagerHost(Base):
    """A manager host that uses this store; single-host drivers refuse to start beside another."""

    __tablename__ = "manager_hosts"

    host: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    boot_id: Mapped[str] = mapped_column(sa.String(64))
    started_at: Mapped[float] = mapped_column(sa.Double)
    seen_at: Mapped[float] = mapped_column(sa.Double)
