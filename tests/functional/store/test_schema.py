"""The migrations make exactly the tables of the models, and take them away again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from nfp.manager.store import migrate
from nfp.manager.store.tables import Base
from nfp.model.errors import Unavailable
from tests.functional.store.databases import OnPostgresql, OnSqlite


class SqliteSchema(OnSqlite):
    def setUp(self) -> None:
        self.url = self.make_url()
        self.engine = self.make_engine(self.url)

    def tables(self) -> set[str]:
        return set(sa.inspect(self.engine).get_table_names())

    def test_the_migrations_make_the_tables_of_the_models(self) -> None:
        migrate.upgrade(self.url)
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            self.assertEqual(compare_metadata(context, Base.metadata), [])

    def test_each_revision_goes_down_and_up_again(self) -> None:
        migrate.upgrade(self.url)
        there = self.tables()
        migrate.downgrade(self.url, "base")
        self.assertEqual(self.tables(), {"alembic_version"})
        migrate.upgrade(self.url)
        self.assertEqual(self.tables(), there)
        self.assertEqual(there - {"alembic_version"}, set(Base.metadata.tables))

    def test_an_upgrade_may_be_repeated(self) -> None:
        migrate.upgrade(self.url)
        migrate.upgrade(self.url)
        self.assertEqual(migrate.current(self.url), migrate.head())

    def test_a_failing_upgrade_leaves_nothing_behind(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE network_services (id integer)"))
        with self.assertRaises(sa.exc.DBAPIError):
            migrate.upgrade(self.url)
        self.assertEqual(self.tables() - {"alembic_version"}, {"network_services"})

    def test_check_passes_a_current_schema(self) -> None:
        migrate.upgrade(self.url)
        migrate.check(self.url)

    def test_check_names_the_command_for_an_empty_database(self) -> None:
        with self.assertRaises(migrate.SchemaOutdated) as caught:
            migrate.check(self.url)
        self.assertIn("nfp database upgrade", str(caught.exception))
        self.assertIsNone(migrate.current(self.url))

    def test_check_refuses_the_schema_of_a_newer_release(self) -> None:
        migrate.upgrade(self.url)
        with self.engine.begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with self.assertRaises(migrate.SchemaOutdated) as caught:
            migrate.check(self.url)
        self.assertIn("newer", str(caught.exception))


class PostgresqlSchema(OnPostgresql, SqliteSchema):
    def test_a_server_that_is_away_is_unavailable_and_no_password_is_told(self) -> None:
        with self.assertRaises(Unavailable) as caught:
            migrate.check("postgresql://nfp:topsecret@127.0.0.1:1/nfp")
        self.assertNotIn("topsecret", str(caught.exception))
