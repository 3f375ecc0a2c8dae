"""Tests for transactions: what is tried again, what passes through, what makes the store unavailable."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.store.base import Base
from nfp.manager.store.engine import Inline, Store, make_engine, with_driver
from nfp.manager.store.failures import Verdict, judge
from nfp.manager.store.tables import InstancePort, Tombstone
from nfp.model.errors import Unavailable


def sqlite_error(code: int) -> sa.exc.OperationalError:
    cause = sqlite3.OperationalError("words of the driver")
    cause.sqlite_errorcode = code
    return sa.exc.OperationalError("SELECT secret", {}, cause)


class PostgresqlError(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("words of the driver")
        self.sqlstate = sqlstate


class Failing:
    """A transaction that fails as often as told, and counts."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.runs = error, times, 0

    def __call__(self, connection: sa.Connection) -> str:
        self.runs += 1
        if self.runs <= self.times:
            raise self.error
        return "done"


class StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = make_engine("sqlite://")
        self.addCleanup(self.engine.dispose)
        Base.metadata.create_all(self.engine)
        self.store = Store(self.engine, Inline(), self.clock, random=lambda: 1.0, tries=4)

    def write(self, function: Callable[..., Any], *args: object) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.store.write(function, *args))

    def read(self, function: Callable[..., Any], *args: object) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.store.read(function, *args))

    def tombstones(self) -> list[str]:
        found: list[str] = self.successResultOf(
            self.read(lambda c: list(c.execute(sa.select(Tombstone.id).order_by(Tombstone.id)).scalars()))
        )
        return found


def bury(connection: sa.Connection, identity: str) -> str:
    connection.execute(sa.insert(Tombstone).values(id=identity, at=1.0))
    return identity


class Transactions(StoreCase):
    def test_a_write_is_committed_and_gives_the_functions_result(self) -> None:
        self.assertEqual(self.successResultOf(self.write(bury, "a")), "a")
        self.assertEqual(self.tombstones(), ["a"])

    def test_what_the_function_raises_passes_through_and_undoes_the_write(self) -> None:
        def fails(connection: sa.Connection) -> None:
            bury(connection, "a")
            raise KeyError("why")

        self.failureResultOf(self.write(fails), KeyError)
        self.assertEqual(self.tombstones(), [])

    def test_an_integrity_error_passes_through_at_once(self) -> None:
        self.successResultOf(self.write(bury, "a"))
        self.failureResultOf(self.write(bury, "a"), sa.exc.IntegrityError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_foreign_keys_are_enforced(self) -> None:
        def dangle(connection: sa.Connection) -> None:
            connection.execute(sa.insert(InstancePort).values(instance_id="x", port_id="y", position=0))

        self.failureResultOf(self.write(dangle), sa.exc.IntegrityError)

    def test_a_read_cannot_write(self) -> None:
        self.failureResultOf(self.read(bury, "a"), sa.exc.OperationalError)
        self.successResultOf(self.write(bury, "b"))
        self.assertEqual(self.tombstones(), ["b"])


class Retries(StoreCase):
    def test_a_locked_database_is_tried_again_after_a_delay_that_grows(self) -> None:
        transaction = Failing(sqlite_error(5), 2)
        result = self.write(transaction)
        self.assertNoResult(result)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [0.02])
        self.clock.advance(0.02)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [0.06])
        self.clock.advance(0.04)
        self.assertEqual(self.successResultOf(result), "done")
        self.assertEqual(transaction.runs, 3)

    def test_a_database_that_stays_locked_is_unavailable_in_the_end(self) -> None:
        transaction = Failing(sqlite_error(5), 100)
        result = self.write(transaction)
        self.clock.pump([1.0] * 10)
        failure = self.failureResultOf(result, Unavailable)
        self.assertEqual(str(failure.value), "the database is busy")
        self.assertEqual(transaction.runs, 4)

    def test_a_lost_connection_is_tried_again_once_and_at_once(self) -> None:
        lost = sqlite_error(1)
        lost.connection_invalidated = True
        transaction = Failing(lost, 1)
        self.assertEqual(self.successResultOf(self.write(transaction)), "done")
        transaction = Failing(lost, 2)
        failure = self.failureResultOf(self.write(transaction), Unavailable)
        self.assertEqual(str(failure.value), "the connection to the database was lost")
        self.assertEqual(transaction.runs, 2)

    def test_a_full_disk_is_unavailable_without_another_try_and_without_the_statement(self) -> None:
        transaction = Failing(sqlite_error(13), 1)
        failure = self.failureResultOf(self.write(transaction), Unavailable)
        self.assertEqual(str(failure.value), "the database has no room left")
        self.assertEqual(transaction.runs, 1)

    def test_a_missing_directory_is_unavailable(self) -> None:
        engine = make_engine("sqlite:////nowhere/at/all.db")
        store = Store(engine, Inline(), self.clock)
        failure = self.failureResultOf(Deferred.fromCoroutine(store.write(bury, "a")), Unavailable)
        self.assertIn("No such file", str(failure.value))


class Verdicts(SynchronousTestCase):
    def postgresql(self, sqlstate: str | None) -> Verdict | None:
        return judge(sa.exc.OperationalError("", {}, PostgresqlError(sqlstate)), committing=False)

    def test_postgresql(self) -> None:
        for state, verdict in {
            "40001": Verdict.AGAIN,
            "40P01": Verdict.AGAIN,
            "55P03": Verdict.AGAIN,
            "53100": Verdict.FULL,
            "53300": Verdict.AWAY,
            "57P01": Verdict.AWAY,
            "57P03": Verdict.AWAY,
            "08006": Verdict.AWAY,
            "28P01": Verdict.AWAY,
            None: Verdict.AWAY,
            "42P01": None,
        }.items():
            self.assertIs(self.postgresql(state), verdict, state)

    def test_sqlite_with_extended_codes(self) -> None:
        for code, verdict in {
            5: Verdict.AGAIN,
            517: Verdict.AGAIN,
            6: Verdict.AGAIN,
            13: Verdict.FULL,
            14: Verdict.AWAY,
            10 | 3 << 8: Verdict.AWAY,
            1: None,
        }.items():
            self.assertIs(judge(sqlite_error(code), committing=False), verdict, str(code))

    def test_mariadb(self) -> None:
        for number, verdict in {
            1213: Verdict.AGAIN,
            1205: Verdict.AGAIN,
            2003: Verdict.AWAY,
            1146: None,
        }.items():
            error = sa.exc.OperationalError("", {}, Exception(number, "words"))
            self.assertIs(judge(error, committing=False), verdict, str(number))

    def test_a_connection_lost_in_the_commit_is_not_tried_again(self) -> None:
        error = sqlite_error(1)
        error.connection_invalidated = True
        self.assertIs(judge(error, committing=True), Verdict.AWAY)

    def test_no_free_connection_is_worth_another_try(self) -> None:
        self.assertIs(judge(sa.exc.TimeoutError("pool"), committing=False), Verdict.AGAIN)


class Addresses(SynchronousTestCase):
    def test_a_bare_name_gets_our_driver(self) -> None:
        self.assertEqual(with_driver("postgresql://h/d").drivername, "postgresql+psycopg")
        self.assertEqual(with_driver("mysql://h/d").drivername, "mysql+pymysql")
        self.assertEqual(with_driver("mysql+mysqldb://h/d").drivername, "mysql+mysqldb")
        self.assertEqual(with_driver("sqlite://").drivername, "sqlite")
