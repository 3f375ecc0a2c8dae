"""The way to the database: an engine set up for durability, and transactions run off the reactor.

A transaction is a plain function ``function(connection, *args)``.  It may be run more than once
(a deadlock, a lost connection), so it must not touch anything but its connection.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nfp.manager.store import sqlite
from nfp.manager.store.failures import Verdict, judge
from nfp.model.errors import Unavailable

T = TypeVar("T")
Transaction = Callable[..., T]

_POSTGRESQL_DEADLINES = (
    "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
)


def make_engine(connection_url: str, pool_size: int = 10) -> sa.Engine:
    """Make an engine; connects to nothing yet.

    SQLite files are made with mode 0600, written ahead (WAL) and flushed at each commit, with foreign
    keys on; a writing transaction takes its lock at once, so two never fail each other half-way.
    ``sqlite://`` is one shared connection in memory, for tests.  A bare ``postgresql://`` means
    psycopg 3, a bare ``mysql://`` PyMySQL.

    :param pool_size: connections kept; as many again under pressure.
    :raises sqlalchemy.exc.ArgumentError: *connection_url* is none.
    """
    url = with_driver(connection_url)
    match url.get_backend_name():
        case "sqlite" if url.database in (None, "", ":memory:"):
            engine = sa.create_engine(
                url, poolclass=StaticPool, connect_args={"check_same_thread": False}, hide_parameters=True
            )
            sqlite.set_up(engine)
        case "sqlite":
            engine = sa.create_engine(
                url,
                poolclass=sa.QueuePool,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_timeout=10,
                connect_args={"check_same_thread": False},
                hide_parameters=True,
            )
            sqlite.set_up(engine)
        case backend:
            engine = sa.create_engine(
                url,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_timeout=10,
                pool_recycle=1800,
                connect_args=_postgresql(url) if backend == "postgresql" else {"connect_timeout": 5},
                hide_parameters=True,
            )
    return engine


def with_driver(connection_url: str) -> sa.URL:
    """Parse a URL and name our driver where it names none."""
    url = sa.make_url(connection_url)
    drivers = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
    return url.set(drivername=drivers.get(url.drivername, url.drivername))


def _postgresql(url: sa.URL) -> dict[str, Any]:
    wanted = {"connect_timeout": 5, "application_name": "nfp", "options": _POSTGRESQL_DEADLINES}
    return {name: value for name, value in wanted.items() if name not in url.query}


@contextmanager
def connected(connection_url: str) -> Iterator[sa.Connection]:
    """One writing transaction of a blocking program, on a connection of its own.

    :raises nfp.model.errors.Unavailable: the database is away, full or busy.
    """
    engine = make_engine(connection_url, pool_size=1)
    try:
        with engine.begin() as connection:
            yield connection
    except sa.exc.SQLAlchemyError as error:
        verdict = judge(error, committing=False)
        if verdict is None:
            raise
        raise Unavailable(verdict.value) from error
    finally:
        engine.dispose()


class Caller(Protocol):
    """What runs a blocking call: :class:`nfp.daemon.threads.Threads`, or :class:`Inline`."""

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Run *function*."""
        ...


class Inline:
    """Runs blocking calls at once, in the caller's thread; for unit tests and for blocking programs."""

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Run *function*."""
        return function(*args)


class Store:
    """Runs transactions.

    Deadlocks, serialization and certification failures and a locked SQLite file are tried again,
    with exponential backoff and full jitter, as is a connection that turns out to be dead (once, at
    once).  Integrity errors and whatever the function itself raises pass through.

    :param engine: from :func:`make_engine`.
    :param threads: where the blocking happens.
    :param clock: waits between tries.
    :param random: gives numbers between 0 and 1 for the jitter.
    :param tries: how often a transaction is run at most.
    """

    _log = Logger()

    def __init__(
        self,
        engine: sa.Engine,
        threads: Caller,
        clock: IReactorTime,
        random: Callable[[], float] = randomness.random,
        tries: int = 8,
    ) -> None:
        self.engine = engine
        self._reading = engine.execution_options(**{sqlite.READING: True, "postgresql_readonly": True})
        self._threads = threads
        self._clock = clock
        self._random = random
        self._tries = tries

    async def write(self, function: Transaction[T], *args: object) -> T:
        """Run ``function(connection, *args)`` in one transaction and commit it.

        :raises nfp.model.errors.Unavailable: the database is away, full, or stayed busy.  When the
            connection was lost during the commit itself, nobody knows whether it took place:
            a repeat must be harmless.
        """
        return await self._run(self.engine, function, args)

    async def read(self, function: Transaction[T], *args: object) -> T:
        """Run ``function(connection, *args)`` in one transaction that cannot write.

        :raises nfp.model.errors.Unavailable: as for :meth:`write`.
        """
        return await self._run(self._reading, function, args)

    async def dispose(self) -> None:
        """Close the connections."""
        await self._threads.call(self.engine.dispose)

    async def _run(self, engine: sa.Engine, function: Transaction[T], args: tuple[object, ...]) -> T:
        lost = False
        for attempt in range(1, self._tries + 1):
            transaction = _Attempt(engine)
            try:
                return await self._threads.call(copy_context().run, transaction.run, function, args)
            except sa.exc.SQLAlchemyError as error:
                verdict = judge(error, committing=transaction.committing)
                if verdict is None:
                    raise
                if verdict is Verdict.LOST and not lost:
                    lost = True
                    continue
                if verdict is not Verdict.AGAIN or attempt == self._tries:
                    self._log.warn(
                        "database: {verdict}: {detail}", verdict=verdict.value, detail=_text(error)
                    )
                    raise Unavailable(verdict.value) from None
                delay = self._random() * min(1.0, 0.01 * 2**attempt)
                await deferLater(self._clock, delay)
        raise AssertionError("the last try returns or raises")


class _Attempt:
    """One try of a transaction, which remembers how far it came."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.committing = False

    def run(self, function: Transaction[T], args: tuple[object, ...]) -> T:
        with self._engine.connect() as connection:
            with connection.begin() as transaction:
                result = function(connection, *args)
                self.committing = True
                transaction.commit()
            return result


def _text(error: Exception) -> str:
    """The driver's own words; SQLAlchemy's would repeat the statement."""
    return str(getattr(error, "orig", None) or error)
