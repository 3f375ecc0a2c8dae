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

from nfp.manager.directory.register import SIDES, remember, seen
from nfp.manager.registers import Stamp, merge
from nfp.manager.store import gathered, history, rows, service_rows
from nfp.manager.store.tables import AcceptedMessage, EarlyMessage, NetworkService, Tombstone
from nfp.model.derived import derive
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

_NAMESPACE = uuid.UUID("5b1f6c0e-7f0e-4f0e-9a3e-8f5d2c0b6e11")
"""Ids of services whose create named none are derived in this namespace from the message's id."""


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
    row = service_rows.existing(connection, service_id, live_key)
    if row is not None:
        return _write(connection, row, registers, message, "create repeated")
    if service_rows.is_buried(connection, service_id):
        _remember(connection, message, service_id)
        return Accepted(service_id, error=Conflict(f"network service {service_id} was deleted"))
    merged = merge({}, {}, registers, message.stamp)
    values, stamps, notice = merged.values, merged.stamps, None
    identity = {**{name: network_service.get(name) for name in IDENTITY}, "id": service_id}
    for early in sorted(service_rows.take_early(connection, service_id), key=lambda early: early["stamp"]):
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
            service_rows.insert(connection, identity, values, stamps, failure=str(error))
            _remember(connection, message, service_id)
            history.add(connection, service_id, "create refused", str(error))
        return Accepted(service_id, wake=not message.is_call, error=error)
    service_rows.insert(
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
    known_row = service_rows.existing(connection, service_id, None)
    if known_row is None and not service_rows.is_buried(connection, service_id):
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
        service_rows.insert(connection, identity, {"name": texts.get("name", "")}, {}, failure=reason)
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
    row = service_rows.lock(connection, service_id)
    registers = {name: value for name, value in network_service.items() if name in REGISTERS}
    if row is None:
        if not message.is_call and not service_rows.is_buried(connection, service_id):
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
    if service_rows.lock(connection, service_id) is None:
        return Accepted(None, error=NotFound(f"no network service {service_id}"))
    service_rows.note_refusal(connection, service_id, reason)
    _remember(connection, message, service_id)
    return Accepted(service_id, wake=True)


def delete(connection: sa.Connection, service_id: str, message: Message) -> Accepted:
    """Accept a ``delete_network_service``; an unknown id leaves a tombstone all the same."""
    known = _accepted(connection, message)
    if known is not None:
        return known
    service_id = service_id.lower()
    row = service_rows.lock(connection, service_id)
    if not service_rows.is_buried(connection, service_id):
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
            **service_rows.pending(row, ServiceStatus.PENDING_DELETE),
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
    values = service_rows.registers_of(row)
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
        service_rows.note_refusal(connection, service_id, str(error))
        return Accepted(service_id, wake=True, error=error)
    status = ServiceStatus.PENDING_UPDATE if row["was_active"] else ServiceStatus.PENDING_CREATE
    columns, wanted = service_rows.split(merged.values)
    written = {
        **columns,
        "live_key": row["live_key"] or service_rows.free_live_key(connection, row),
        "wanted": wanted,
        "stamps": merged.stamps,
        "service_type": spec.service_type,
        "service_vendor": spec.service_vendor,
        "failure": None,
        "notice": None,
        "attempts": {},
        **service_rows.pending(row, status),
    }
    rows.put(connection, _SERVICES, service_id, written)
    if not merged.changed.isdisjoint(SIDES):
        remember(connection, *seen(merged.values))
    history.add(connection, service_id, event, ", ".join(sorted(merged.changed)))
    return Accepted(service_id, wake=True)


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
