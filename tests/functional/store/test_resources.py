"""The blueprint's five resources, attribute by attribute, on real databases.

:data:`BLUEPRINT` is copied from its section "Data model impact": name, type, access, default, foreign key.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from nfp.manager.store import migrate, resources
from nfp.manager.store.resources import RESOURCES, Default
from nfp.manager.store.services import InstancePort
from nfp.model.errors import Invalid, NotFound
from tests.functional.store.databases import OnPostgresql, OnSqlite

BLUEPRINT: dict[str, list[tuple[str, str, str, str, str | None]]] = {
    "NetworkService": [
        ("id", "string (UUID)", "RO", "generated", None),
        ("name", "string", "RW", "''", None),
        ("description", "string", "RW", "''", None),
        ("tenant_id", "UUID", "RW", "''", None),
        ("service_id", "UUID", "RW", "required", None),
        ("service_chain_id", "UUID", "RW", "", None),
        ("service_profile_id", "UUID", "RW", "", None),
        ("service_config", "string", "RW", "", None),
        ("heat_stack_id", "UUID", "RO", "", None),
        ("status", "string", "RO", "", None),
        ("status_description", "string", "RO", "", None),
    ],
    "NetworkServiceInstance": [
        ("id", "string (UUID)", "RO", "generated", None),
        ("name", "string", "RW", "''", None),
        ("tenant_id", "UUID", "RW", "''", None),
        ("description", "string", "RW", "''", None),
        ("network_service_id", "UUID", "RW", "required", "NetworkService"),
        ("port_info", "list (UUID)", "RO", "", "PortInfo"),
        ("ha_state", "string", "RW", "''", None),
        ("nsd_id", "UUID", "RW", "required", "NetworkServiceDevice"),
        ("status", "string", "RO", "", None),
    ],
    "PortInfo": [
        ("id", "string (UUID)", "RO", "generated", None),
        ("port_policy", "string", "RW", "''", None),
        ("port_classification", "string", "RW", "''", None),
        ("port_type", "string", "RW", "''", None),
    ],
    "NetworkInfo": [
        ("id", "string (UUID)", "RO", "generated", None),
        ("network_policy", "string", "RW", "''", None),
    ],
    "NetworkServiceDevice": [
        ("id", "string (UUID)", "RO", "generated", None),
        ("name", "string", "RW", "''", None),
        ("tenant_id", "UUID", "RW", "''", None),
        ("description", "string", "RW", "''", None),
        ("mgmt_port_id", "UUID", "RW", "required", "PortInfo"),
        ("monitoring_port_id", "UUID", "RW", "", "PortInfo"),
        ("monitoring_port_network", "UUID", "RW", "", "NetworkInfo"),
        ("service_vendor", "string", "RO", "", None),
        ("status", "string", "RO", "", None),
    ],
}

CHOICES = {
    ("PortInfo", "port_policy"): ["neutron_port", "gbp_policy_target"],
    ("PortInfo", "port_classification"): ["provider", "consumer"],
    ("PortInfo", "port_type"): ["active", "standby", "master"],
    ("NetworkInfo", "network_policy"): ["neutron_network", "gbp_group"],
}

TABLES = {
    "NetworkService": "network_services",
    "NetworkServiceInstance": "network_service_instances",
    "PortInfo": "port_infos",
    "NetworkInfo": "network_infos",
    "NetworkServiceDevice": "network_service_devices",
}

ATTRIBUTES = [
    (resource, *attribute) for resource, attributes in BLUEPRINT.items() for attribute in attributes
]


def some_id() -> str:
    return str(uuid.uuid4())


class SqliteResources(OnSqlite):
    def setUp(self) -> None:
        url = self.make_url()
        migrate.upgrade(url)
        self.engine = self.make_engine(url)
        self.connection = self.engine.connect()
        self.addCleanup(self.connection.close)
        self.transaction = self.connection.begin()
        self.addCleanup(self.transaction.rollback)

    def create(self, resource: str, **attributes: object) -> str:
        return resources.create(self.connection, resource, attributes)

    def least(self, resource: str) -> dict[str, object]:
        """What a create must name, with rows behind its keys."""
        needed: dict[str, object] = {}
        for name, _, _, default, references in BLUEPRINT[resource]:
            if default == "required":
                needed[name] = self.create(references, **self.least(references)) if references else some_id()
        return needed

    def refused(self, field: str, resource: str, attributes: dict[str, Any]) -> str:
        with self.assertRaises(Invalid) as caught:
            resources.create(self.connection, resource, attributes)
        self.assertEqual(caught.exception.field, field, resource)
        return caught.exception.reason

    def test_the_attributes_are_the_blueprints_in_its_order(self) -> None:
        self.assertEqual(
            {name: [a.name for a in resource.attributes] for name, resource in RESOURCES.items()},
            {name: [row[0] for row in rows] for name, rows in BLUEPRINT.items()},
        )
        for resource, rows in BLUEPRINT.items():
            shown = resources.show(self.connection, resource, self.create(resource, **self.least(resource)))
            self.assertEqual(list(shown), [row[0] for row in rows])

    def test_types(self) -> None:
        for resource, name, kind, *_ in ATTRIBUTES:
            self.assertEqual(
                RESOURCES[resource].attribute(name).type.value, kind.replace("string (UUID)", "UUID"), name
            )

    def test_the_columns_hold_text_and_enforce_the_keys(self) -> None:
        inspector = sa.inspect(self.connection)
        for resource, name, kind, _, default, references in ATTRIBUTES:
            table = TABLES[resource] if kind != "list (UUID)" else "network_service_instance_ports"
            column = name if kind != "list (UUID)" else "port_id"
            [found] = [c for c in inspector.get_columns(table) if c["name"] == column]
            self.assertIsInstance(found["type"], sa.String, name)
            self.assertEqual(found["nullable"], default == "" and kind != "list (UUID)", f"{resource}.{name}")
            keys = {
                key["referred_table"]
                for key in inspector.get_foreign_keys(table)
                if key["constrained_columns"] == [column]
            }
            self.assertEqual(keys, {TABLES[references]} if references else set(), f"{resource}.{name}")
        for table in TABLES.values():
            self.assertEqual(inspector.get_pk_constraint(table)["constrained_columns"], ["id"])

    def test_defaults(self) -> None:
        for resource, rows in BLUEPRINT.items():
            shown = resources.show(self.connection, resource, self.create(resource, **self.least(resource)))
            for name, kind, _, default, _ in rows:
                if default == "generated":
                    self.assertEqual(str(uuid.UUID(shown[name])), shown[name])
                elif default == "''":
                    self.assertEqual(shown[name], "", f"{resource}.{name}")
                elif default == "":
                    self.assertEqual(shown[name], [] if kind == "list (UUID)" else None, f"{resource}.{name}")

    def test_what_is_required_is_refused_when_missing(self) -> None:
        for resource, name, _, _, default, _ in ATTRIBUTES:
            attribute = RESOURCES[resource].attribute(name)
            self.assertEqual(attribute.default is Default.REQUIRED, default == "required", name)
            if default == "required":
                least = self.least(resource)
                del least[name]
                self.assertEqual(self.refused(name, resource, least), "is required")
                self.refused(name, resource, {**least, name: None})

    def test_a_read_only_attribute_is_refused_in_create_and_update(self) -> None:
        for resource, name, _, access, *_ in ATTRIBUTES:
            self.assertEqual(RESOURCES[resource].attribute(name).writable, access == "RW", name)
            if access == "RO":
                self.assertEqual(
                    self.refused(name, resource, {**self.least(resource), name: some_id()}), "is read-only"
                )
                identity = self.create(resource, **self.least(resource))
                with self.assertRaises(Invalid) as caught:
                    resources.update(self.connection, resource, identity, {name: some_id()})
                self.assertEqual(caught.exception.field, name)

    def test_every_writable_attribute_can_be_created_and_updated(self) -> None:
        for resource, name, kind, access, _, references in ATTRIBUTES:
            if access != "RW":
                continue
            values: list[object] = []
            for n in range(2):
                if references:
                    values.append(self.create(references, **self.least(references)))
                else:
                    free = some_id() if kind == "UUID" else f"text {n}"
                    values.append(CHOICES.get((resource, name), [free, free])[n])
            identity = self.create(resource, **{**self.least(resource), name: values[0]})
            self.assertEqual(resources.show(self.connection, resource, identity)[name], values[0])
            resources.update(self.connection, resource, identity, {name: values[1]})
            self.assertEqual(resources.show(self.connection, resource, identity)[name], values[1])

    def test_a_dangling_key_is_refused_by_name(self) -> None:
        for resource, name, _, access, _, references in ATTRIBUTES:
            if references and access == "RW":
                self.assertIn(
                    references, self.refused(name, resource, {**self.least(resource), name: some_id()})
                )

    def test_a_dangling_key_is_refused_by_the_database_too(self) -> None:
        for resource, name, kind, _, _, references in ATTRIBUTES:
            if not references:
                continue
            identity = self.create(resource, **self.least(resource))
            if kind == "list (UUID)":
                statement: Any = sa.insert(InstancePort).values(
                    instance_id=identity, port_id=some_id(), position=0
                )
            else:
                table = RESOURCES[resource].table
                statement = sa.update(table).where(table.c.id == identity).values({name: some_id()})
            with self.assertRaises(sa.exc.IntegrityError), self.connection.begin_nested():
                self.connection.execute(statement)

    def test_a_row_that_is_referred_to_cannot_go(self) -> None:
        least = self.least("NetworkServiceDevice")
        self.create("NetworkServiceDevice", **least)
        table = RESOURCES["PortInfo"].table
        with self.assertRaises(sa.exc.IntegrityError), self.connection.begin_nested():
            self.connection.execute(sa.delete(table).where(table.c.id == least["mgmt_port_id"]))

    def test_values_outside_the_choices_are_refused(self) -> None:
        for (resource, name), choices in CHOICES.items():
            for choice in choices:
                self.create(resource, **{name: choice})
            for wrong in ("other", choices[0].upper(), f"{choices[0]} "):
                reason = self.refused(name, resource, {name: wrong})
                self.assertEqual(reason, f"expected one of {', '.join(choices)}")

    def test_wrong_types_are_refused(self) -> None:
        for resource, name, _, access, *_ in ATTRIBUTES:
            if access == "RW":
                for wrong in (7, 1.5, True, ["a"], {"a": "b"}, b"a"):
                    self.refused(name, resource, {**self.least(resource), name: wrong})

    def test_a_uuid_is_one(self) -> None:
        for wrong in ("x", "123", f"{some_id()}0", some_id().replace("-", "g", 1)):
            self.assertEqual(
                self.refused("service_id", "NetworkService", {"service_id": wrong}), "expected UUID"
            )
        self.create("NetworkService", service_id=some_id(), tenant_id=uuid.uuid4().hex)

    def test_text_that_is_too_long_or_cannot_be_stored_is_refused(self) -> None:
        self.refused(
            "name", "NetworkServiceDevice", {**self.least("NetworkServiceDevice"), "name": "x" * 256}
        )
        self.refused("name", "NetworkServiceDevice", {**self.least("NetworkServiceDevice"), "name": "a\0b"})

    def test_an_unknown_attribute_is_refused(self) -> None:
        for resource in BLUEPRINT:
            self.refused("colour", resource, {**self.least(resource), "colour": "red"})
            # A column that is not the blueprint's is no attribute either.
            self.refused("revision", resource, {**self.least(resource), "revision": "7"})

    def test_an_unknown_id_is_not_found(self) -> None:
        for resource in BLUEPRINT:
            with self.assertRaises(NotFound):
                resources.show(self.connection, resource, some_id())
            for attributes in ({}, {"name": "x"}):
                if resource not in ("PortInfo", "NetworkInfo") or not attributes:
                    with self.assertRaises(NotFound):
                        resources.update(self.connection, resource, some_id(), attributes)

    def test_port_info_lists_the_ports_of_an_instance_in_order(self) -> None:
        identity = self.create("NetworkServiceInstance", **self.least("NetworkServiceInstance"))
        ports = [self.create("PortInfo") for _ in range(3)]
        for position, port in reversed(list(enumerate(ports))):
            self.connection.execute(
                sa.insert(InstancePort).values(instance_id=identity, port_id=port, position=position)
            )
        shown = resources.show(self.connection, "NetworkServiceInstance", identity)
        self.assertEqual(shown["port_info"], ports)

    def test_I3_an_update_bumps_the_revision_of_what_is_converged(self) -> None:
        for resource in ("NetworkService", "NetworkServiceDevice"):
            identity = self.create(resource, **self.least(resource))
            table = RESOURCES[resource].table
            wanted = sa.select(table.c.revision).where(table.c.id == identity)
            before = self.connection.execute(wanted).scalar_one()
            resources.update(self.connection, resource, identity, {"name": "new"})
            self.assertEqual(self.connection.execute(wanted).scalar_one(), before + 1)


class PostgresqlResources(OnPostgresql, SqliteResources):
    """The same on PostgreSQL."""
