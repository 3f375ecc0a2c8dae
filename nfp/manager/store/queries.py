"""What callers are shown of network services."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nfp.manager.store import rows
from nfp.manager.store.tables import NetworkService, NetworkServiceDevice, NetworkServiceInstance
from nfp.model.errors import Invalid
from nfp.model.states import ServiceStatus

_SERVICES: Any = NetworkService.__table__
_INSTANCES: Any = NetworkServiceInstance.__table__
_DEVICES: Any = NetworkServiceDevice.__table__

SHOWN = (
    "id",
    "name",
    "description",
    "tenant_id",
    "service_id",
    "service_chain_id",
    "service_profile_id",
    "service_config",
    "heat_stack_id",
    "status",
    "status_description",
    "service_type",
    "service_vendor",
    "status_revision",
    "created_at",
    "updated_at",
)
MAX_PAGE = 1000

_FIELDS = frozenset((*SHOWN, "network_service_instances"))
_PENDING = (ServiceStatus.PENDING_CREATE, ServiceStatus.PENDING_UPDATE, ServiceStatus.PENDING_DELETE)


def get(connection: sa.Connection, service_id: str) -> dict[str, Any] | None:
    """Show one service; ``None`` when there is none of that id."""
    return get_each(connection, [service_id]).get(service_id)


def get_each(connection: sa.Connection, service_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Show services; those that are not there are left out."""
    lower = {service_id: service_id.lower() for service_id in service_ids}
    found = {row["id"]: row for row in _rows(connection, _BY_ID, {"ids": list({*lower.values()})})}
    return {service_id: found[row_id] for service_id, row_id in lower.items() if row_id in found}


def page(
    connection: sa.Connection,
    filters: Mapping[str, Any] | None,
    fields: Sequence[str] | None,
    sort: Sequence[str] | None,
    limit: int | None,
    marker: str | None,
) -> list[dict[str, Any]]:
    """Show services, a page at a time.

    :param filters: attribute → value, or list of values of which one must match.
    :param fields: the attributes to show; all by default.
    :param sort: attributes to sort by, ``-`` before one for descending; the id is always last.
    :param limit: services at most, 1 to 1000.
    :param marker: id of the last service of the page before.
    :raises Invalid: naming what is not known or out of range.
    """
    query = _present()
    for name, value in (filters or {}).items():
        if name not in SHOWN:
            raise Invalid(f"unknown attribute {name[:64]!r}", field="filters")
        values = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, str | int | float) for item in values):
            raise Invalid("expected a value or a list of values", field=f"filters.{name}")
        query = query.where(sa.or_(*(_SERVICES.c[name] == item for item in values)) if values else sa.false())
    unknown = [name for name in fields or () if name not in _FIELDS]
    if unknown:
        raise Invalid(f"unknown attribute {unknown[0][:64]!r}", field="fields")
    keys = _sort_keys(sort or ())
    if marker is not None:
        query = query.where(_after(connection, keys, marker))
    query = query.order_by(*(column.desc() if descending else column.asc() for column, descending in keys))
    found = _rows(connection, query.limit(min(limit or MAX_PAGE, MAX_PAGE)))
    if not fields:
        return found
    return [{name: row[name] for name in fields} for row in found]


def _sort_keys(sort: Sequence[str]) -> list[tuple[Any, bool]]:
    keys = []
    for name in (*sort, "id"):
        bare = name.removeprefix("-")
        if bare not in SHOWN:
            raise Invalid(f"unknown attribute {bare[:64]!r}", field="sort")
        keys.append((_SERVICES.c[bare], name.startswith("-")))
    return keys


def _after(connection: sa.Connection, keys: list[tuple[Any, bool]], marker: str) -> Any:
    """The condition "sorted after the marker", written out key by key: the keys' directions differ."""
    at = connection.execute(
        sa.select(*(column for column, _ in keys)).where(_SERVICES.c.id == marker.lower())
    ).first()
    if at is None:
        raise Invalid(f"no network service {marker[:64]!r}", field="marker")
    alternatives = []
    for position, (column, descending) in enumerate(keys):
        equal = [keys[index][0] == at[index] for index in range(position)]
        beyond = column < at[position] if descending else column > at[position]
        alternatives.append(sa.and_(*equal, beyond))
    return sa.or_(*alternatives)


def _present() -> Any:
    columns = [_SERVICES.c[name] for name in SHOWN]
    return sa.select(*columns).where(_SERVICES.c.status != ServiceStatus.DELETED)


_BY_ID = _present().where(_SERVICES.c.id.in_(sa.bindparam("ids", expanding=True)))
_BOUND = (
    sa.select(
        _INSTANCES.c.id,
        _INSTANCES.c.network_service_id,
        _INSTANCES.c.nsd_id,
        _DEVICES.c.status.label("nsd_status"),
        _DEVICES.c.status_description.label("nsd_status_description"),
    )
    .join_from(_INSTANCES, _DEVICES, _INSTANCES.c.nsd_id == _DEVICES.c.id)
    .where(_INSTANCES.c.network_service_id.in_(sa.bindparam("ids", expanding=True)))
)


def _rows(
    connection: sa.Connection, query: Any, values: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    found = rows.every(connection, query, values)
    by_id: dict[str, dict[str, Any]] = {}
    for row in found:
        row["network_service_instances"] = []
        by_id[row["id"]] = row
    if not by_id:
        return found
    bound = rows.every(connection, _BOUND, {"ids": list(by_id)})
    for instance in bound:
        row = by_id[instance["network_service_id"]]
        row["network_service_instances"].append(instance)
        if row["status"] in _PENDING and instance["nsd_status_description"]:
            row["status_description"] = instance["nsd_status_description"]
    return found
