"""Rows as plain dictionaries: what leaves a transaction is a value, never a live row."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def first(connection: sa.Connection, query: Any) -> dict[str, Any] | None:
    """The first row of *query*, if there is one."""
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def every(connection: sa.Connection, query: Any) -> list[dict[str, Any]]:
    """All rows of *query*."""
    return [dict(row) for row in connection.execute(query).mappings()]
