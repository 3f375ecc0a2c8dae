"""SQLite set up for durability, and for several processes that write to one file."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from nfp.model.errors import Unavailable

READING = "nfp_reading"
"""Execution option: the transaction does not write, and must not."""

_PATIENCE = 10.0
"""Seconds that a transaction waits for its turn to write."""
_STEP = 0.002
"""Seconds between looks whether another process has finished; SQLite's own steps grow to 100 ms."""
_READ = ("PRAGMA query_only=ON", f"PRAGMA busy_timeout={int(_PATIENCE * 1000)}")
_WRITE = ("PRAGMA query_only=OFF", "PRAGMA busy_timeout=0")
_TURN = "nfp_turn"


def set_up(engine: sa.Engine) -> None:
    """Make the file with mode 0600, write ahead, flush at each commit, enforce foreign keys.

    A writing transaction takes SQLite's lock at once, so that none can fail half-way because of
    another.  The threads of a process take turns by a lock of their own; only the one whose turn it
    is looks at the file, often, so that nobody sleeps long while nobody writes.
    """
    path = engine.url.database
    in_memory = path in (None, "", ":memory:")
    turn = _Turn()

    @sa.event.listens_for(engine, "do_connect")
    def make_file(dialect: Any, entry: ConnectionPoolEntry, cargs: Any, cparams: Any) -> None:
        if path and not in_memory:
            _make_file(path)

    @sa.event.listens_for(engine, "connect")
    def set_up_connection(connection: Any, entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; "begin" below does
        connection.execute(f"PRAGMA busy_timeout={int(_PATIENCE * 1000)}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        reading = _switch(connection)
        if reading:
            connection.exec_driver_sql("BEGIN")
        elif in_memory:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            turn.take(connection)

    @sa.event.listens_for(engine, "checkin")
    def checkin(connection: Any, entry: ConnectionPoolEntry) -> None:
        turn.give_back(entry.record_info)


def _switch(connection: sa.Connection) -> bool:
    """Make the connection fit for reading or for writing, whichever the transaction is for.

    :return: whether it is for reading.
    """
    reading = bool(connection.get_execution_options().get(READING))
    if connection.info.get(READING) is not reading:
        driver: Any = connection.connection.dbapi_connection
        for pragma in _READ if reading else _WRITE:
            driver.execute(pragma)
        connection.info[READING] = reading
    return reading


def _make_file(path: str) -> None:
    """Make the file if it is not there, without opening it.

    Closing a descriptor of a file drops every POSIX lock that the process has on it: SQLite's too.
    """
    try:
        os.mknod(path, stat.S_IFREG | 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise Unavailable(f"the database file cannot be made: {error.strerror}") from error


class _Turn:
    """Whose turn it is to write, among the threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause = threading.Event()  # never set: only a way to wait

    def take(self, connection: sa.Connection) -> None:
        """Begin to write; after too long, SQLite's "database is locked" is what the caller gets."""
        held = connection.connection.record_info
        assert held is not None
        if not held.get(_TURN):
            held[_TURN] = self._lock.acquire(timeout=_PATIENCE)
        driver: Any = connection.connection.dbapi_connection
        for _ in range(int(_PATIENCE / _STEP)):
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
            else:
                return
            self._pause.wait(_STEP)
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # so that SQLAlchemy sees the error

    def give_back(self, held: Any) -> None:
        """Let the next one write."""
        if held.pop(_TURN, False):
            self._lock.release()
