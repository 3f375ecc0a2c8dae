"""Transactions on real databases: contention, deadlock, a connection that dies, a full disk."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from threading import Barrier
from typing import Any

import sqlalchemy as sa
from twisted.internet import reactor  # noqa: TID251 -- the functional tests run on the real one
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from nfp.daemon.threads import Threads
from nfp.manager.store.base import Base, clock
from nfp.manager.store.engine import Store, make_engine
from nfp.manager.store.group_commit import GroupCommit
from nfp.manager.store.tables import Tombstone
from nfp.model.errors import Unavailable
from tests.functional import postgres


class StoreCase(TestCase):
    """Has a store on a real database, with threads."""

    def make_url(self) -> str:
        return f"sqlite:///{Path(self.mktemp()).absolute()}.db"

    def setUp(self) -> None:
        self.url = self.make_url()
        self.threads = Threads(reactor)
        self.threads.start()
        self.addCleanup(self.threads.stop)
        self.store = self.make_store()
        Base.metadata.create_all(self.store.engine)

    def make_store(self) -> Store:
        engine = make_engine(self.url)
        self.addCleanup(engine.dispose)
        return Store(engine, self.threads, reactor)

    async def both(self, *work: Any) -> list[Any]:
        return await gatherResults([Deferred.fromCoroutine(one) for one in work], consumeErrors=True)


def bury(connection: sa.Connection, identity: str, at: float = 1.0) -> str:
    connection.execute(sa.insert(Tombstone).values(id=identity, at=at))
    return identity


def count(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(Tombstone)).scalar_one()


def add_one(connection: sa.Connection) -> None:
    """Read, then write what was read plus one; wrong unless transactions that write exclude each other."""
    seen = connection.execute(
        sa.select(Tombstone.at).where(Tombstone.id == "sum").with_for_update()
    ).scalar_one()
    connection.execute(sa.update(Tombstone).where(Tombstone.id == "sum").values(at=seen + 1))


class SqliteStore(StoreCase):
    async def test_writers_of_two_stores_do_not_fail_each_other(self) -> None:
        other = self.make_store()
        await self.store.write(bury, "sum", 0.0)
        await self.both(*((self.store, other)[n % 2].write(add_one) for n in range(40)))
        total = await self.store.read(lambda c: c.execute(sa.select(Tombstone.at)).scalar_one())
        self.assertEqual(total, 40.0)

    async def test_a_group_commit_stores_everything_once(self) -> None:
        group = GroupCommit(self.store, reactor)
        await self.both(*(group.write(f"{n:04}", bury, f"{n:04}") for n in range(600)))
        self.assertEqual(await self.store.read(count), 600)

    async def test_the_databases_clock_is_the_time_of_day(self) -> None:
        now = await self.store.read(lambda c: c.execute(sa.select(clock())).scalar_one())
        self.assertLess(abs(float(now) - reactor.seconds()), 30)


class SqliteFile(StoreCase):
    def path(self) -> Path:
        return Path(self.store.engine.url.database or "")

    async def test_the_file_and_its_companions_are_the_owners_alone(self) -> None:
        await self.store.write(bury, "a")
        found = sorted(self.path().parent.glob(f"{self.path().name}*"))
        self.assertEqual(len(found), 3)
        for path in found:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)

    async def test_it_is_written_ahead_and_flushed_at_each_commit(self) -> None:
        for pragma, value in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
            found = await self.store.read(
                lambda c, name: c.exec_driver_sql(f"PRAGMA {name}").scalar_one(), pragma
            )
            self.assertEqual(found, value)

    async def test_a_new_connection_does_not_cost_the_others_their_locks(self) -> None:
        # POSIX drops all locks of a process on a file when it closes any descriptor of it.
        await self.both(self.store.write(bury, "a"), self.store.write(bury, "b"), self.store.read(count))
        with self.store.engine.connect(), self.store.engine.connect() as another:
            another.exec_driver_sql("SELECT 1")
            code = (
                "import sqlite3, sys; sqlite3.connect(sys.argv[1], 0).execute('PRAGMA journal_mode=DELETE')"
            )
            _, err, _ = await getProcessOutputAndValue(sys.executable, ["-c", code, str(self.path())])
        self.assertIn(b"database is locked", err)

    async def test_a_full_disk_is_unavailable_and_the_store_works_again_when_there_is_room(self) -> None:
        def fill(connection: sa.Connection) -> None:
            connection.exec_driver_sql("PRAGMA max_page_count=1")
            for n in range(2000):
                bury(connection, f"{n:036}")

        with self.assertRaises(Unavailable) as caught:
            await self.store.write(fill)
        self.assertEqual(str(caught.exception), "the database has no room left")
        await self.store.dispose()
        await self.store.write(bury, "a")
        self.assertEqual(await self.store.read(count), 1)


class PostgresqlStore(SqliteStore):
    def make_url(self) -> str:
        return postgres.database(self)

    async def test_a_deadlock_is_tried_again_until_both_are_through(self) -> None:
        for key in "ab":
            await self.store.write(bury, key, 0.0)
        barrier = Barrier(2)
        first_try = {"ab", "ba"}

        def cross(connection: sa.Connection, keys: str) -> None:
            for number, key in enumerate(keys):
                if number and keys in first_try:
                    first_try.discard(keys)
                    barrier.wait(20)
                connection.execute(
                    sa.update(Tombstone).where(Tombstone.id == key).values(at=Tombstone.at + 1)
                )

        await self.both(self.store.write(cross, "ab"), self.store.write(cross, "ba"))
        found = await self.store.read(lambda c: set(c.execute(sa.select(Tombstone.at)).scalars()))
        self.assertEqual(found, {2.0})

    async def test_connections_that_the_server_has_cut_are_replaced_unseen(self) -> None:
        def cut_others(connection: sa.Connection) -> None:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        await self.both(*(self.store.read(pause) for _ in range(3)))
        await self.make_store().write(cut_others)
        await self.store.write(bury, "a")
        self.assertEqual(await self.store.read(count), 1)

    async def test_a_connection_cut_in_the_middle_costs_one_more_try(self) -> None:
        tries = []

        def suicidal(connection: sa.Connection) -> str:
            tries.append(1)
            bury(connection, "a")
            if len(tries) == 1:
                connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
            return "done"

        self.assertEqual(await self.store.write(suicidal), "done")
        self.assertEqual(len(tries), 2)
        self.assertEqual(await self.store.read(count), 1)

    async def test_a_server_that_is_away_is_unavailable_and_no_password_is_told(self) -> None:
        for url in (
            "postgresql://nfp:topsecret@127.0.0.1:1/nfp",
            self.url.replace(str(self.store.engine.url.database), "nowhere"),
        ):
            engine = make_engine(url)
            self.addCleanup(engine.dispose)
            store = Store(engine, self.threads, reactor)
            with self.assertRaises(Unavailable) as caught:
                await store.read(count)
            self.assertEqual(str(caught.exception), "the database cannot be reached")


def pause(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SELECT pg_sleep(0.05)")
