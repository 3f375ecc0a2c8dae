"""Tells the embedded directory of ports and subnets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from nfp.manager.interfaces import DirectoryPort, DirectorySubnet
from nfp.manager.store.directory import DirectoryPortRow, DirectorySubnetRow
from nfp.manager.store.engine import connected
from nfp.manager.store.ports import PortInfo

_PORTS: Any = DirectoryPortRow.__table__
_SUBNETS: Any = DirectorySubnetRow.__table__
_PORT_INFOS: Any = PortInfo.__table__

Row = dict[str, Any]

SIDES = ("provider", "consumer", "management")
"""The registers that name ports and subnets."""

_UNKNOWN: Mapping[str, Row] = {
    DirectoryPortRow.__tablename__: {
        "mac_address": "",
        "addresses": [],
        "subnet_id": None,
        "attached": False,
    },
    DirectorySubnetRow.__tablename__: {"network_id": "", "gateway_ip": None, "attached": False},
}
"""What a new row holds of that which nobody has told."""


def register_port(url: str, port: DirectoryPort) -> None:
    """Tell of a port, or of its new addresses.  Blocks.

    :param url: of the manager's database.
    :raises nfp.model.errors.Unavailable: it is away.
    """
    with connected(url) as connection:
        _put(connection, _PORTS, [{**asdict(port), "addresses": list(port.addresses), "attached": True}])


def register_subnet(url: str, subnet: DirectorySubnet) -> None:
    """Tell of a subnet, or of its new gateway.  Blocks.

    :param url: of the manager's database.
    :raises nfp.model.errors.Unavailable: it is away.
    """
    with connected(url) as connection:
        _put(connection, _SUBNETS, [{**asdict(subnet), "attached": True}])


def forget_port(url: str, port_id: str) -> None:
    """Let a port go; not known is success.  Blocks.

    :param url: of the manager's database.
    :raises nfp.model.errors.Unavailable: it is away.
    """
    with connected(url) as connection:
        connection.execute(sa.delete(DirectoryPortRow).where(_PORTS.c.id == port_id))


def remember(
    connection: sa.Connection, ports: Sequence[Mapping[str, Any]], subnets: Sequence[Mapping[str, Any]]
) -> None:
    """Keep what a request says of its ports and subnets; may be repeated.

    What the request leaves out stays as it is known.

    :param ports: Neutron ports, as ``port`` of a side has them.
    :param subnets: Neutron subnets.
    """
    networks = {
        fixed.get("subnet_id"): port["network_id"] for port in ports for fixed in port.get("fixed_ips") or ()
    }
    _put(connection, _PORTS, [_port_row(port) for port in ports])
    _put(connection, _SUBNETS, [_subnet_row(subnet, networks) for subnet in subnets])


def seen(registers: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The ports and subnets that a service's wanted state names."""
    sides = [registers.get(side) or {} for side in SIDES]
    ports = [port for side in sides for port in side.get("port") or ()]
    return ports, [side["subnet"] for side in sides if side.get("subnet")]


def forget(
    connection: sa.Connection, ports: Sequence[Mapping[str, Any]], subnets: Sequence[Mapping[str, Any]]
) -> None:
    """Let go of what a service named that is removed, unless it was told by hand or another names it.

    :param ports: Neutron ports; *subnets* likewise.
    """
    held = sa.select(_PORT_INFOS.c.backend_id).where(_PORT_INFOS.c.backend_id.is_not(None))
    connection.execute(
        sa.delete(_PORTS).where(
            _PORTS.c.id.in_([port["id"] for port in ports]), ~_PORTS.c.attached, _PORTS.c.id.not_in(held)
        )
    )
    used = sa.select(_PORTS.c.subnet_id).where(_PORTS.c.subnet_id.is_not(None))
    connection.execute(
        sa.delete(_SUBNETS).where(
            _SUBNETS.c.id.in_([subnet["id"] for subnet in subnets]),
            ~_SUBNETS.c.attached,
            _SUBNETS.c.id.not_in(used),
        )
    )


def _port_row(port: Mapping[str, Any]) -> Row:
    row = {"id": port["id"], "network_id": port["network_id"]}
    if port.get("mac_address"):
        row["mac_address"] = port["mac_address"].lower()
    fixed = port.get("fixed_ips")
    if fixed is not None:
        row["addresses"] = [one["ip_address"] for one in fixed]
        row["subnet_id"] = fixed[0].get("subnet_id") if fixed else None
    return row


def _subnet_row(subnet: Mapping[str, Any], networks: Mapping[str | None, str]) -> Row:
    row = {"id": subnet["id"], "cidr": subnet["cidr"]}
    network = subnet.get("network_id") or networks.get(subnet["id"])
    if network:
        row["network_id"] = network
    if "gateway_ip" in subnet:
        row["gateway_ip"] = subnet["gateway_ip"]
    return row


def _put(connection: sa.Connection, table: Any, rows: Sequence[Row]) -> None:
    """Write the rows that say something new, in the order of their ids: two writers do not deadlock."""
    if not rows:
        return
    told = {row["id"]: row for row in rows}
    found = connection.execute(_knowing(table), {"ids": list(told)}).mappings()
    known = {row["id"]: dict(row) for row in found}
    fresh = []
    for identity in sorted(told):
        old = known.get(identity, {})
        new = {**_UNKNOWN[table.name], **old, **told[identity]}
        if new != old:
            fresh.append(new)
    if fresh:
        connection.execute(_upsert(connection.dialect.name, table), fresh)


@lru_cache(maxsize=8)
def _knowing(table: Any) -> sa.Executable:
    return sa.select(table).where(table.c.id.in_(sa.bindparam("ids", expanding=True)))


@lru_cache(maxsize=8)
def _upsert(dialect: str, table: Any) -> sa.Executable:
    names = [column.name for column in table.c if column.name != "id"]
    if dialect in ("mysql", "mariadb"):
        adding = mysql.insert(table)
        return adding.on_duplicate_key_update({name: adding.inserted[name] for name in names})
    insert: Any = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    return insert.on_conflict_do_update(  # type: ignore[no-any-return]
        index_elements=["id"], set_={name: insert.excluded[name] for name in names}
    )
