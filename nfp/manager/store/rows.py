"""Rows as plain dictionaries: what leaves a transaction is a value, never a live row.

The statements that every step runs are built once and kept: building one costs more than running it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from nfp.manager.store.base import clock


def first(
    connection: sa.Connection, query: Any, values: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The first row of *query*, if there is one.

    :param values: of the query's bind parameters.
    """
    row = connection.execute(query, values or {}).mappings().first()
    return None if row is None else dict(row)


def every(
    connection: sa.Connection, query: Any, values: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """All rows of *query*."""
    return [dict(row) for row in connection.execute(query, values or {}).mappings()]


def get(
    connection: sa.Connection, table: Any, object_id: str, *, lock: bool = False
) -> dict[str, Any] | None:
    """The row with that id.

    :param lock: keep others from changing it until the transaction ends.
    """
    return first(connection, _by(table, "id", lock), {"value": object_id})


def where(connection: sa.Connection, table: Any, column: str, value: Any) -> list[dict[str, Any]]:
    """The rows whose *column* equals *value*, by id."""
    return every(connection, _by(table, column, False), {"value": value})


def put(
    connection: sa.Connection,
    table: Any,
    object_id: str,
    values: Mapping[str, Any],
    *,
    lease: float | None = None,
) -> None:
    """Set columns of the row with that id.

    :param lease: also renew its lease, for so many seconds of the database's time.
    """
    statement = _update(table, frozenset(values), lease is not None)
    connection.execute(
        statement, {**values, "row_id": object_id, **({} if lease is None else {"seconds": lease})}
    )


def serialize(connection: sa.Connection, name: str) -> None:
    """Let no other transaction that names *name* come between, where there is no row to lock yet.

    SQLite has one writer anyway, and MariaDB locks the gap where a row is not.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_NAMED, {"name": name})


_NAMED = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


@lru_cache(maxsize=256)
def _by(table: Any, column: str, lock: bool) -> Any:
    query = sa.select(table).where(table.c[column] == sa.bindparam("value"))
    return query.with_for_update() if lock else query.order_by(table.c.id)


@lru_cache(maxsize=1024)
def _update(table: Any, names: frozenset[str], lease: bool) -> Any:
    values: dict[str, Any] = {name: sa.bindparam(name) for name in sorted(names)}
    if lease:
        values["lease_until"] = clock() + sa.bindparam("seconds", type_=sa.Double())
    return sa.update(table).where(table.c.id == sa.bindparam("row_id")).values(**values)
