"""The rows of a network service as accepting requests finds and changes them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nfp.daemon.journal import request_id
from nfp.manager.store import history, rows
from nfp.manager.store.tables import EarlyMessage, NetworkService, Tombstone
from nfp.model.digest import canonical
from nfp.model.states import ServiceStatus

_SERVICES: Any = NetworkService.__table__
_EARLY: Any = EarlyMessage.__table__
_TOMBSTONES: Any = Tombstone.__table__

_INSERTING = sa.insert(_SERVICES)
_BURIED = sa.select(_TOMBSTONES.c.id).where(_TOMBSTONES.c.id == sa.bindparam("row_id"))
_OVERTAKING = sa.select(_EARLY).where(_EARLY.c.object_id == sa.bindparam("row_id"))
_SAME = _SERVICES.c.id == sa.bindparam("row_id")
_BY_ID = sa.select(_SERVICES).where(_SAME).with_for_update()
_BY_ID_OR_NODE = (
    sa.select(_SERVICES)
    .where(sa.or_(_SAME, _SERVICES.c.live_key == sa.bindparam("live_key")))
    .order_by(_SERVICES.c.id != sa.bindparam("row_id"))
    .with_for_update()
)

_COLUMNS = ("name", "description", "service_profile_id")
"""Registers that are columns of the blueprint's; the others live in ``wanted``."""


def registers_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Put the registers of a service's row together again."""
    stamped = set(row["stamps"])
    values = {name: row[name] for name in _COLUMNS if name in stamped}
    values.update(row["wanted"])
    return values


def split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide registers into columns and the ``wanted`` document."""
    columns = {name: values[name] for name in _COLUMNS if name in values}
    wanted = {name: value for name, value in values.items() if name not in _COLUMNS}
    config = values.get("service_config")
    columns["service_config"] = config if config is None or isinstance(config, str) else canonical(config)
    return columns, wanted


def pending(row: Mapping[str, Any], status: str) -> dict[str, Any]:
    """A new state of a service whose row is locked."""
    return {
        "status": status,
        "status_description": "",
        "status_revision": row["status_revision"] + 1,
        "revision": row["revision"] + 1,
        "request_id": request_id.get(),
        "updated_at": time.time(),
    }


def insert(
    connection: sa.Connection,
    identity: Mapping[str, Any],
    values: Mapping[str, Any],
    stamps: Mapping[str, Any],
    **more: Any,
) -> None:
    """Enter a service; with a ``failure`` it is one in ERROR from the start."""
    columns, wanted = split(values)
    now = time.time()
    failure = more.get("failure")
    row = {
        **identity,
        **columns,
        "wanted": wanted,
        "stamps": stamps,
        "status": ServiceStatus.PENDING_CREATE if failure is None else ServiceStatus.ERROR,
        "status_description": failure or "",
        "request_id": request_id.get(),
        "created_at": now,
        "updated_at": now,
        **more,
    }
    connection.execute(_INSERTING, row)


def lock(connection: sa.Connection, service_id: str) -> dict[str, Any] | None:
    """The service's row, locked; ``None``: there is none, and none comes before this transaction ends."""
    row = rows.get(connection, _SERVICES, service_id, lock=True)
    if row is not None:
        return row
    rows.serialize(connection, service_id)
    return rows.get(connection, _SERVICES, service_id, lock=True)


def free_live_key(connection: sa.Connection, row: Mapping[str, Any]) -> str | None:
    """The key of a service that had no good configuration until now, unless another has taken its place."""
    live_key = f"{row['service_chain_id'] or ''}/{row['service_id']}"
    query = sa.select(_SERVICES.c.id).where(_SERVICES.c.live_key == live_key)
    return live_key if connection.execute(query).first() is None else None


def existing(connection: sa.Connection, service_id: str, live_key: str | None) -> dict[str, Any] | None:
    """The service of that id, else the one that holds that key, locked."""
    if live_key is None:
        return rows.first(connection, _BY_ID, {"row_id": service_id})
    return rows.first(connection, _BY_ID_OR_NODE, {"row_id": service_id, "live_key": live_key})


def is_buried(connection: sa.Connection, service_id: str) -> bool:
    """Whether a service of that id was deleted."""
    return connection.execute(_BURIED, {"row_id": service_id}).first() is not None


def take_early(connection: sa.Connection, service_id: str) -> list[dict[str, Any]]:
    """The updates that overtook the service's create, which are its own now."""
    found = rows.every(connection, _OVERTAKING, {"row_id": service_id})
    if found:
        connection.execute(sa.delete(_EARLY).where(_EARLY.c.object_id == service_id))
    return found


def note_refusal(connection: sa.Connection, service_id: str, reason: str) -> None:
    """Keep why an update was refused, where operators look."""
    connection.execute(
        sa.update(_SERVICES)
        .where(_SERVICES.c.id == service_id)
        .values(notice=f"update refused: {reason}"[:4096], revision=_SERVICES.c.revision + 1)
    )
    history.add(connection, service_id, "update refused", reason)
