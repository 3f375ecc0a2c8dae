"""What all tables share: the declarative base, ids, times, and the columns of a converged object."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.functions import FunctionElement

Identity = sa.String(36)
"""A UUID as text; what callers name their objects by."""

Json = sa.JSON(none_as_null=True)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Root of the models; constraint names are fixed so that migrations can name them."""

    metadata = sa.MetaData(naming_convention=NAMING)


class clock(FunctionElement[float]):  # noqa: N801  (an SQL function)
    """The database's own time, in seconds since 1970; leases are measured by it, never by a host's clock."""

    type = sa.Double()
    inherit_cache = True


@compiles(clock)
def _clock_default(element: Any, compiler: Any, **kw: Any) -> str:
    return "EXTRACT(EPOCH FROM clock_timestamp())"


@compiles(clock, "sqlite")
def _clock_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(clock, "mysql", "mariadb")
def _clock_mysql(element: Any, compiler: Any, **kw: Any) -> str:
    return "UNIX_TIMESTAMP(NOW(6))"


class Converged:
    """Columns of an object that a converge loop looks after (``design.md`` section 3).

    ``revision`` rises with every fact, wanted or observed (I3); the object is unsettled while it is
    above ``converged_revision`` (I4).  The lease says who may act, ``fence`` which taking this is (I5);
    a taking that was never given back may have died between an intent and its effect, so what was told
    under a fence below ``uncertain_below`` and has no result is told again.
    ``attempts`` counts failures per step, so that backoff survives a crash; ``failure`` is a reason that
    stops work until a new fact arrives; ``wake_at`` is when a waiting object wants to be looked at;
    ``request_id`` is the last request that wanted something of it, which the work's log lines bear.
    """

    revision: Mapped[int] = mapped_column(sa.BigInteger, default=1)
    converged_revision: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    lease_owner: Mapped[str | None] = mapped_column(sa.String(255))
    lease_until: Mapped[float | None] = mapped_column(sa.Double)
    fence: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    uncertain_below: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    held: Mapped[str | None] = mapped_column(sa.Text)
    wanted_absent: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    attempts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    failure: Mapped[str | None] = mapped_column(sa.Text)
    waiting_for: Mapped[str | None] = mapped_column(sa.Text)
    wake_at: Mapped[float | None] = mapped_column(sa.Double)
    request_id: Mapped[str | None] = mapped_column(sa.String(255))
    created_at: Mapped[float] = mapped_column(sa.Double)
    updated_at: Mapped[float] = mapped_column(sa.Double)
