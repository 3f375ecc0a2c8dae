"""The blueprint's five resources as callers see them: attributes, who may write them, what they may hold.

The tables hold more than this; here is only what the blueprint names.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa

from nfp.manager.store import ports
from nfp.manager.store.base import Base, Converged, clock
from nfp.manager.store.devices import NetworkServiceDevice
from nfp.manager.store.ports import NetworkInfo, PortInfo
from nfp.manager.store.services import InstancePort, NetworkService, NetworkServiceInstance
from nfp.model.errors import Invalid, NotFound

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
"""As OpenStack writes them: with dashes, or (Keystone) without."""


class Type(Enum):
    """What an attribute holds."""

    UUID = "UUID"
    STRING = "string"
    UUIDS = "list (UUID)"


class Default(Enum):
    """What an attribute is when a create does not name it; any other default is the value itself."""

    REQUIRED = "required"
    GENERATED = "generated"
    NOTHING = ""


@dataclass(frozen=True)
class Attribute:
    """A row of one of the blueprint's tables.

    :ivar writable: RW; the others are ours to write, and read-only to callers.
    :ivar references: the resource that it holds the id of.
    :ivar choices: the values that it may have beside the default; empty: any.
    """

    name: str
    type: Type
    writable: bool
    default: str | Default = Default.NOTHING
    references: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resource:
    """A resource and the table that holds it.

    :ivar name: as the blueprint spells it.
    :ivar model: every attribute is its column of the same name, except ``port_info``, which is a table.
    """

    name: str
    model: type[Base]
    attributes: tuple[Attribute, ...]

    @property
    def table(self) -> sa.Table:
        """The table."""
        found = self.model.__table__
        assert isinstance(found, sa.Table)
        return found

    def attribute(self, name: str) -> Attribute:
        """Find an attribute.

        :raises nfp.model.errors.Invalid: there is none of that name.
        """
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise Invalid(f"{self.name} has no such attribute", field=name)


def _id() -> Attribute:
    return Attribute("id", Type.UUID, writable=False, default=Default.GENERATED)


def _text(name: str, choices: tuple[str, ...] = ()) -> Attribute:
    return Attribute(name, Type.STRING, writable=True, default="", choices=choices)


def _tenant() -> Attribute:
    return Attribute("tenant_id", Type.UUID, writable=True, default="")


def _told(name: str, kind: Type = Type.STRING) -> Attribute:
    return Attribute(name, kind, writable=False)


def _key(name: str, references: str, default: Default = Default.NOTHING) -> Attribute:
    return Attribute(name, Type.UUID, writable=True, default=default, references=references)


RESOURCES: Mapping[str, Resource] = {
    resource.name: resource
    for resource in (
        Resource(
            "NetworkService",
            NetworkService,
            (
                _id(),
                _text("name"),
                _text("description"),
                _tenant(),
                Attribute("service_id", Type.UUID, writable=True, default=Default.REQUIRED),
                Attribute("service_chain_id", Type.UUID, writable=True),
                Attribute("service_profile_id", Type.UUID, writable=True),
                Attribute("service_config", Type.STRING, writable=True),
                _told("heat_stack_id", Type.UUID),
                _told("status"),
                _told("status_description"),
            ),
        ),
        Resource(
            "NetworkServiceInstance",
            NetworkServiceInstance,
            (
                _id(),
                _text("name"),
                _tenant(),
                _text("description"),
                _key("network_service_id", "NetworkService", Default.REQUIRED),
                Attribute("port_info", Type.UUIDS, writable=False, references="PortInfo"),
                _text("ha_state"),
                _key("nsd_id", "NetworkServiceDevice", Default.REQUIRED),
                _told("status"),
            ),
        ),
        Resource(
            "PortInfo",
            PortInfo,
            (
                _id(),
                _text("port_policy", ports.PORT_POLICIES),
                _text("port_classification", ports.PORT_CLASSIFICATIONS),
                _text("port_type", ports.PORT_TYPES),
            ),
        ),
        Resource("NetworkInfo", NetworkInfo, (_id(), _text("network_policy", ports.NETWORK_POLICIES))),
        Resource(
            "NetworkServiceDevice",
            NetworkServiceDevice,
            (
                _id(),
                _text("name"),
                _tenant(),
                _text("description"),
                _key("mgmt_port_id", "PortInfo", Default.REQUIRED),
                _key("monitoring_port_id", "PortInfo"),
                _key("monitoring_port_network", "NetworkInfo"),
                _told("service_vendor"),
                _told("status"),
            ),
        ),
    )
}
"""The resources by name."""


def create(connection: sa.Connection, resource: str, attributes: Mapping[str, object]) -> str:
    """Insert a row.

    :param resource: a name in :data:`RESOURCES`.
    :return: its generated id.
    :raises nfp.model.errors.Invalid: naming the attribute.
    """
    kind = RESOURCES[resource]
    values = _checked(connection, kind, attributes)
    for attribute in kind.attributes:
        if attribute.default is Default.REQUIRED and attribute.name not in attributes:
            raise Invalid("is required", field=attribute.name)
    values["id"] = str(uuid.uuid4())
    if issubclass(kind.model, Converged):
        values["created_at"] = values["updated_at"] = clock()
    connection.execute(sa.insert(kind.table).values(values))
    return str(values["id"])


def update(connection: sa.Connection, resource: str, identity: str, attributes: Mapping[str, object]) -> None:
    """Change a row; what is converged gets a new revision (I3).

    :raises nfp.model.errors.NotFound: there is none with that id.
    :raises nfp.model.errors.Invalid: naming the attribute.
    """
    kind = RESOURCES[resource]
    values = _checked(connection, kind, attributes)
    table = kind.table
    if issubclass(kind.model, Converged):
        values["revision"] = table.c.revision + 1
        values["updated_at"] = clock()
    if not values:
        show(connection, resource, identity)
        return
    changed = connection.execute(sa.update(table).where(table.c.id == identity).values(values))
    if not changed.rowcount:
        raise NotFound(f"there is no {resource} {identity}")


def show(connection: sa.Connection, resource: str, identity: str) -> dict[str, Any]:
    """Read a row: exactly the blueprint's attributes.

    :raises nfp.model.errors.NotFound: there is none with that id.
    """
    kind = RESOURCES[resource]
    columns = [kind.table.c[a.name] for a in kind.attributes if a.type is not Type.UUIDS]
    row = connection.execute(sa.select(*columns).where(kind.table.c.id == identity)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no {resource} {identity}")
    return {
        attribute.name: _ports_of(connection, identity)
        if attribute.type is Type.UUIDS
        else row[attribute.name]
        for attribute in kind.attributes
    }


def _ports_of(connection: sa.Connection, instance_id: str) -> list[str]:
    found = connection.execute(
        sa.select(InstancePort.port_id)
        .where(InstancePort.instance_id == instance_id)
        .order_by(InstancePort.position)
    )
    return list(found.scalars())


def _checked(connection: sa.Connection, kind: Resource, attributes: Mapping[str, object]) -> dict[str, Any]:
    for name, value in attributes.items():
        attribute = kind.attribute(name)
        if not attribute.writable:
            raise Invalid("is read-only", field=name)
        _check(attribute, value, kind.table.c[name])
        if attribute.references is not None and value is not None:
            _check_key(connection, attribute, str(value))
    return dict(attributes)


def _check(attribute: Attribute, value: object, column: sa.Column[Any]) -> None:
    if value is None:
        if not column.nullable:
            raise Invalid("must not be null", field=attribute.name)
        return
    if not isinstance(value, str):
        raise Invalid(f"expected {attribute.type.value}, got {type(value).__name__}", field=attribute.name)
    if value == attribute.default:
        return
    if attribute.choices and value not in attribute.choices:
        raise Invalid(f"expected one of {', '.join(attribute.choices)}", field=attribute.name)
    if attribute.type is Type.UUID and not _UUID.fullmatch(value):
        raise Invalid("expected UUID", field=attribute.name)
    length = getattr(column.type, "length", None)
    if length is not None and len(value) > length:
        raise Invalid(f"expected at most {length} characters", field=attribute.name)
    if "\0" in value:
        raise Invalid("must not contain a zero byte", field=attribute.name)


def _check_key(connection: sa.Connection, attribute: Attribute, value: str) -> None:
    """Make sure that the row is there, and keep it there until the transaction ends."""
    assert attribute.references is not None
    table = RESOURCES[attribute.references].table
    found = connection.execute(
        sa.select(table.c.id).where(table.c.id == value).with_for_update(read=True, key_share=True)
    )
    if found.first() is None:
        raise Invalid(f"there is no {attribute.references} {value}", field=attribute.name)
