"""What accepting a request stores, in one short transaction each (``design.md`` section 3).

Each may be repeated and reordered with the others without changing where it all ends (I7): fields are
registers with stamps, a delete leaves a tombstone, an update that overtakes its create is kept for it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nfp.daemon.journal import request_id
from nfp.manager.directory.register import SIDES, remember, seen
from nfp.manager.registers import Stamp, merge
from nfp.manager.store import gathered, history, rows
from nfp.manager.store.tables import AcceptedMessage, EarlyMessage, NetworkService, Tombstone
from nfp.model.derived import derive
from nfp.model.digest import canonical
from nfp.model.errors import Conflict, Invalid, NfpError, NotFound
from nfp.model.services import IDENTITY, REGISTERS
from nfp.model.states import ServiceStatus

_SERVICES: Any = NetworkService.__table__
_MESSAGES: Any = AcceptedMessage.__table__
_EARLY: Any = EarlyMessage.__table__
_TOMBSTONES: Any = Tombstone.__table__

_KNOWN = sa.select(_MESSAGES.c.unique_id, _MESSAGES.c.object_id).where(
    _MESSAGES.c.unique_id.in_(sa.bindparam("unique_ids", expanding=True))
)
_REMEMBERING = sa.insert(_MESSAGES)
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

_NAMESPACE = uuid.UUID("5b1f6c0e-7f0e-4f0e-9a3e-8f5d2c0b6e11")
"""Ids of services whose create named none are derived in this namespace from the message's id."""

_COLUMNS = ("name", "description", "service_profile_id")
"""Registers that are columns of the blueprint's; the others live in ``wanted``."""


@dataclass(frozen=True)
class Message:
    """The envelope of an accepted request.

    :ivar vendors: vendor in a profile → vendor that serves it here.
    """

    unique_id: str
    stamp: Stamp
    is_call: bool
    vendors: Mapping[str, str]


@dataclass(frozen=True)
class Accepted:
    """What became of a request.

    :ivar service_id: the service that it is about, if there is one.
    :ivar wake: whether its state changed.
    :ivar error: why it was refused; what that left in the store is committed all the same.
    """

    service_id: str | None
    wake: bool = False
    error: NfpError | None = field(default=None, compare=False)


def derived_id(unique_id: str) -> str:
    """The id of a service whose create names none: a redelivered message makes no second one."""
    return str(uuid.uuid5(_NAMESPACE, unique_id))


def create(connection: sa.Connection, network_service: Mapping[str, Any], message: Message) -> Accepted:
    """Accept a ``create_network_service`` whose shape has been checked."""
    known = _accepted(connection, message)
    if known is not None:
        return known
    service_id = str(network_service.get("id") or derived_id(message.unique_id)).lower()
    registers = {name: value for name, value in network_service.items() if name in REGISTERS}
    live_key = f"{network_service.get('service_chain_id') or ''}/{network_service['service_id']}"
    if network_service.get("id"):  # nobody can have named any other before
        rows.serialize(connection, service_id)
    row = _existing(connection, service_id, live_key)
    if row is not None:
        return _write(connection, row, registers, message, "create repeated")
    if _has_tombstone(connection, service_id):
        _remember(connection, message, service_id)
        return Accepted(service_id, error=Conflict(f"network service {service_id} was deleted"))
    merged = merge({}, {}, registers, message.stamp)
    values, stamps, notice = merged.values, merged.stamps, None
    identity = {**{name: network_service.get(name) for name in IDENTITY}, "id": service_id}
    for early in sorted(_early_changes(connection, service_id), key=lambda early: early["stamp"]):
        late = merge(values, stamps, early["changes"], Stamp(*early["stamp"]))
        try:
            derive(identity, late.values, message.vendors)
        except Invalid as error:  # as if it had come in its turn: it must not take the create with it
            notice = f"update refused: {error}"[:4096]
        else:
            values, stamps = late.values, late.stamps
    try:
        spec = derive(identity, values, message.vendors).spec
    except Invalid as error:
        if not message.is_call:
            _insert(connection, identity, values, stamps, failure=str(error))
            _remember(connection, message, service_id)
            history.add(connection, service_id, "create refused", str(error))
        return Accepted(service_id, wake=not message.is_call, error=error)
    _insert(
        connection,
        identity,
        values,
        stamps,
        live_key=live_key,
        notice=notice,
        service_type=spec.service_type,
        service_vendor=spec.service_vendor,
    )
    remember(connection, *seen(values))
    _remember(connection, message, service_id)
    history.add(connection, service_id, "create accepted")
    return Accepted(service_id, wake=True)


def refuse_create(
    connection: sa.Connection, network_service: Mapping[str, Any], reason: str, message: Message
) -> Accepted:
    """Keep a malformed cast ``create_network_service`` as a service in ERROR that says why."""
    known = _accepted(connection, message)
    if known is not None:
        return known
    named = network_service.get("id")
    try:
        service_id = str(uuid.UUID(named)) if isinstance(named, str) else derived_id(message.unique_id)
    except ValueError:
        service_id = derived_id(message.unique_id)
    if _existing(connection, service_id, None) is None and not _has_tombstone(connection, service_id):
        limits = {"tenant_id": 64, "service_id": 36, "service_chain_id": 36, "name": 255}
        texts = {
            name: value[:limit]
            for name, limit in limits.items()
            if isinstance(value := network_service.get(name), str)
        }
        identity = {
            "id": service_id,
            "tenant_id": texts.get("tenant_id", ""),
            "service_id": texts.get("service_id", ""),
            "service_chain_id": texts.get("service_chain_id"),
        }
        _insert(connection, identity, {"name": texts.get("name", "")}, {}, failure=reason)
    _remember(connection, message, service_id)
    history.add(connection, service_id, "create refused", reason)
    return Accepted(service_id, wake=True)


def update(
    connection: sa.Connection, service_id: str, network_service: Mapping[str, Any], message: Message
) -> Accepted:
    """Accept an ``update_network_service`` whose shape has been checked."""
    known = _accepted(connection, message)
    if known is not None:
        return known
    service_id = service_id.lower()
    row = _lock(connection, service_id)
    registers = {name: value for name, value in network_service.items() if name in REGISTERS}
    if row is None:
        if not message.is_call and not _has_tombstone(connection, service_id):
            connection.execute(
                sa.insert(_EARLY).values(
                    unique_id=message.unique_id,
                    object_id=service_id,
                    at=time.time(),
                    stamp=list(message.stamp),
                    changes=registers,
                )
            )
        _remember(connection, message, service_id)
        return Accepted(None, error=NotFound(f"no network service {service_id}"))
    return _write(connection, row, registers, message, "update accepted")


def refuse_update(connection: sa.Connection, service_id: str, reason: str, message: Message) -> Accepted:
    """Keep why an update was refused; wanted state and status stay as they are."""
    known = _accepted(connection, message)
    if known is not None:
        return known
    service_id = service_id.lower()
    if _lock(connection, service_id) is None:
        return Accepted(None, error=NotFound(f"no network service {service_id}"))
    _note_refusal(connection, service_id, reason)
    _remember(connection, message, service_id)
    return Accepted(service_id, wake=True)


def delete(connection: sa.Connection, service_id: str, message: Message) -> Accepted:
    """Accept a ``delete_network_service``; an unknown id leaves a tombstone all the same."""
    known = _accepted(connection, message)
    if known is not None:
        return known
    service_id = service_id.lower()
    row = _lock(connection, service_id)
    if not _has_tombstone(connection, service_id):
        connection.execute(sa.insert(_TOMBSTONES).values(id=service_id[:36], at=time.time()))
    connection.execute(sa.delete(_EARLY).where(_EARLY.c.object_id == service_id))
    _remember(connection, message, service_id)
    if row is None:
        return Accepted(None)
    if row["wanted_absent"]:
        return Accepted(service_id)
    connection.execute(
        sa.update(_SERVICES)
        .where(_SERVICES.c.id == service_id)
        .values(
            wanted_absent=True,
            live_key=None,
            failure=None,
            attempts={},
            **_pending(row, ServiceStatus.PENDING_DELETE),
        )
    )
    history.add(connection, service_id, "delete accepted")
    return Accepted(service_id, wake=True)


def _write(
    connection: sa.Connection, row: Mapping[str, Any], incoming: dict[str, Any], message: Message, event: str
) -> Accepted:
    """Write registers of a service that exists, if what comes out is valid."""
    service_id = row["id"]
    _remember(connection, message, service_id)
    if row["wanted_absent"]:
        return Accepted(service_id, error=Conflict(f"network service {service_id} is being deleted"))
    values = registers_of(row)
    merged = merge(values, row["stamps"], incoming, message.stamp)
    if merged.overtaken:
        history.add(connection, service_id, "overtaken", ", ".join(sorted(merged.overtaken)))
    if not merged.changed:
        if merged.stamps != row["stamps"]:
            connection.execute(
                sa.update(_SERVICES).where(_SERVICES.c.id == service_id).values(stamps=merged.stamps)
            )
        return Accepted(service_id)
    try:
        spec = derive(row, merged.values, message.vendors).spec
    except Invalid as error:
        _note_refusal(connection, service_id, str(error))
        return Accepted(service_id, wake=True, error=error)
    status = ServiceStatus.PENDING_UPDATE if row["was_active"] else ServiceStatus.PENDING_CREATE
    columns, wanted = _split(merged.values)
    written = {
        **columns,
        "live_key": row["live_key"] or _free_live_key(connection, row),
        "wanted": wanted,
        "stamps": merged.stamps,
        "service_type": spec.service_type,
        "service_vendor": spec.service_vendor,
        "failure": None,
        "notice": None,
        "attempts": {},
        **_pending(row, status),
    }
    rows.put(connection, _SERVICES, service_id, written)
    if not merged.changed.isdisjoint(SIDES):
        remember(connection, *seen(merged.values))
    history.add(connection, service_id, event, ", ".join(sorted(merged.changed)))
    return Accepted(service_id, wake=True)


def registers_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Put the registers of a service's row together again."""
    stamped = set(row["stamps"])
    values = {name: row[name] for name in _COLUMNS if name in stamped}
    values.update(row["wanted"])
    return values


def _split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide registers into columns and the ``wanted`` document."""
    columns = {name: values[name] for name in _COLUMNS if name in values}
    wanted = {name: value for name, value in values.items() if name not in _COLUMNS}
    config = values.get("service_config")
    columns["service_config"] = config if config is None or isinstance(config, str) else canonical(config)
    return columns, wanted


def _pending(row: Mapping[str, Any], status: str) -> dict[str, Any]:
    """A new state of a service whose row is locked."""
    return {
        "status": status,
        "status_description": "",
        "status_revision": row["status_revision"] + 1,
        "revision": row["revision"] + 1,
        "request_id": request_id.get(),
        "updated_at": time.time(),
    }


def _insert(
    connection: sa.Connection,
    identity: Mapping[str, Any],
    values: Mapping[str, Any],
    stamps: Mapping[str, Any],
    **more: Any,
) -> None:
    columns, wanted = _split(values)
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


def _lock(connection: sa.Connection, service_id: str) -> dict[str, Any] | None:
    """The service's row, locked; ``None``: there is none, and none comes before this transaction ends."""
    row = rows.get(connection, _SERVICES, service_id, lock=True)
    if row is not None:
        return row
    rows.serialize(connection, service_id)
    return rows.get(connection, _SERVICES, service_id, lock=True)


def _free_live_key(connection: sa.Connection, row: Mapping[str, Any]) -> str | None:
    """The key of a service that had no good configuration until now, unless another has taken its place."""
    live_key = f"{row['service_chain_id'] or ''}/{row['service_id']}"
    query = sa.select(_SERVICES.c.id).where(_SERVICES.c.live_key == live_key)
    return live_key if connection.execute(query).first() is None else None


def _existing(connection: sa.Connection, service_id: str, live_key: str | None) -> dict[str, Any] | None:
    if live_key is None:
        return rows.first(connection, _BY_ID, {"row_id": service_id})
    return rows.first(connection, _BY_ID_OR_NODE, {"row_id": service_id, "live_key": live_key})


def _has_tombstone(connection: sa.Connection, service_id: str) -> bool:
    return connection.execute(_BURIED, {"row_id": service_id}).first() is not None


def _early_changes(connection: sa.Connection, service_id: str) -> list[dict[str, Any]]:
    found = rows.every(connection, _OVERTAKING, {"row_id": service_id})
    if found:
        connection.execute(sa.delete(_EARLY).where(_EARLY.c.object_id == service_id))
    return found


def _accepted(connection: sa.Connection, message: Message) -> Accepted | None:
    known = gathered.common(connection, Message, message, _known)
    unique_id = message.unique_id[:64]
    return Accepted(known[unique_id]) if unique_id in known else None


def _known(connection: sa.Connection, messages: Sequence[Message]) -> dict[str, Any]:
    """Which of *messages* were accepted before, and which object each was about."""
    found = connection.execute(_KNOWN, {"unique_ids": [message.unique_id[:64] for message in messages]})
    return {row.unique_id: row.object_id for row in found}


def _remember(connection: sa.Connection, message: Message, service_id: str | None) -> None:
    unique_id = message.unique_id[:64]
    values = {"unique_id": unique_id, "at": time.time(), "object_id": service_id}
    gathered.add(connection, _REMEMBERING, [values])
    gathered.note(connection, _known, unique_id, service_id)


def _note_refusal(connection: sa.Connection, service_id: str, reason: str) -> None:
    connection.execute(
        sa.update(_SERVICES)
        .where(_SERVICES.c.id == service_id)
        .values(notice=f"update refused: {reason}"[:4096], revision=_SERVICES.c.revision + 1)
    )
    history.add(connection, service_id, "update refused", reason)
