"""What accepting a request stores, in one short transaction each (``design.md`` section 3).

Each may be repeated and reordered with the others without changing where it all ends (I7): fields are
registers with stamps, a delete leaves a tombstone, an update that overtakes its create is kept for it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nfp.daemon.journal import request_id
from nfp.manager.directory.register import remember, seen
from nfp.manager.registers import Stamp, merge
from nfp.manager.store import history, rows
from nfp.manager.store.tables import AcceptedMessage, EarlyMessage, NetworkService, Tombstone
from nfp.model.digest import canonical
from nfp.model.errors import Conflict, Invalid, NfpError, NotFound
from nfp.model.services import IDENTITY, REGISTERS, spec_of
from nfp.model.states import ServiceStatus

_SERVICES: Any = NetworkService.__table__
_MESSAGES: Any = AcceptedMessage.__table__
_EARLY: Any = EarlyMessage.__table__
_TOMBSTONES: Any = Tombstone.__table__

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
    row = _existing(connection, service_id, live_key)
    if row is not None:
        return _write(connection, row, registers, message, "create repeated")
    if _has_tombstone(connection, service_id):
        _remember(connection, message, service_id)
        return Accepted(service_id, error=Conflict(f"network service {service_id} was deleted"))
    merged = merge({}, {}, registers, message.stamp)
    values, stamps = merged.values, merged.stamps
    for early in _early_changes(connection, service_id):
        late = merge(values, stamps, early["changes"], Stamp(*early["stamp"]))
        values, stamps = late.values, late.stamps
    identity = {**{name: network_service.get(name) for name in IDENTITY}, "id": service_id}
    try:
        spec = spec_of(identity, values, message.vendors)
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
            **_pending(ServiceStatus.PENDING_DELETE),
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
        spec = spec_of(row, merged.values, message.vendors)
    except Invalid as error:
        _note_refusal(connection, service_id, str(error))
        return Accepted(service_id, wake=True, error=error)
    status = ServiceStatus.PENDING_UPDATE if row["was_active"] else ServiceStatus.PENDING_CREATE
    columns, wanted = _split(merged.values)
    connection.execute(
        sa.update(_SERVICES)
        .where(_SERVICES.c.id == service_id)
        .values(
            **columns,
            wanted=wanted,
            stamps=merged.stamps,
            service_type=spec.service_type,
            service_vendor=spec.service_vendor,
            failure=None,
            notice=None,
            attempts={},
            **_pending(status),
        )
    )
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


def _pending(status: str) -> dict[str, Any]:
    return {
        "status": status,
        "status_description": "",
        "status_revision": _SERVICES.c.status_revision + 1,
        "revision": _SERVICES.c.revision + 1,
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
    connection.execute(
        sa.insert(_SERVICES).values(
            **identity,
            **columns,
            wanted=wanted,
            stamps=stamps,
            status=ServiceStatus.PENDING_CREATE if failure is None else ServiceStatus.ERROR,
            status_description=failure or "",
            request_id=request_id.get(),
            created_at=now,
            updated_at=now,
            **more,
        )
    )


def _lock(connection: sa.Connection, service_id: str) -> dict[str, Any] | None:
    return rows.get(connection, _SERVICES, service_id, lock=True)


def _existing(connection: sa.Connection, service_id: str, live_key: str | None) -> dict[str, Any] | None:
    same = _SERVICES.c.id == service_id
    if live_key is not None:
        same = sa.or_(same, _SERVICES.c.live_key == live_key)
    query = sa.select(_SERVICES).where(same).order_by(_SERVICES.c.id != service_id).with_for_update()
    return rows.first(connection, query)


def _has_tombstone(connection: sa.Connection, service_id: str) -> bool:
    query = sa.select(_TOMBSTONES.c.id).where(_TOMBSTONES.c.id == service_id)
    return connection.execute(query).first() is not None


def _early_changes(connection: sa.Connection, service_id: str) -> list[dict[str, Any]]:
    mine = _EARLY.c.object_id == service_id
    found = rows.every(connection, sa.select(_EARLY).where(mine))
    if found:
        connection.execute(sa.delete(_EARLY).where(mine))
    return found


def _accepted(connection: sa.Connection, message: Message) -> Accepted | None:
    query = sa.select(_MESSAGES.c.object_id).where(_MESSAGES.c.unique_id == message.unique_id)
    known = connection.execute(query).first()
    return None if known is None else Accepted(known.object_id)


def _remember(connection: sa.Connection, message: Message, service_id: str | None) -> None:
    connection.execute(
        sa.insert(_MESSAGES).values(unique_id=message.unique_id[:64], at=time.time(), object_id=service_id)
    )


def _note_refusal(connection: sa.Connection, service_id: str, reason: str) -> None:
    connection.execute(
        sa.update(_SERVICES)
        .where(_SERVICES.c.id == service_id)
        .values(notice=f"update refused: {reason}"[:4096], revision=_SERVICES.c.revision + 1)
    )
    history.add(connection, service_id, "update refused", reason)
