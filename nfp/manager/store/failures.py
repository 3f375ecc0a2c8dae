"""What a database error means: try again, the database is away, or neither."""

from __future__ import annotations

from enum import Enum
from typing import Any

import sqlalchemy as sa


class Verdict(Enum):
    """What to do about a failed transaction; the value is fit for whoever asked."""

    AGAIN = "the database is busy"
    """Rolled back by the database for the sake of another transaction."""
    LOST = "the connection to the database was lost"
    """Before the commit, so that nothing was stored."""
    AWAY = "the database cannot be reached"
    FULL = "the database has no room left"


_NOT_THERE = object()

_SQLITE = {
    5: Verdict.AGAIN,  # BUSY
    6: Verdict.AGAIN,  # LOCKED
    10: Verdict.AWAY,  # IOERR
    13: Verdict.FULL,  # FULL
    14: Verdict.AWAY,  # CANTOPEN
}
_POSTGRESQL = {
    "40001": Verdict.AGAIN,  # serialization_failure
    "40P01": Verdict.AGAIN,  # deadlock_detected
    "55P03": Verdict.AGAIN,  # lock_not_available
    "57014": Verdict.AGAIN,  # query_canceled: our statement_timeout
    "53100": Verdict.FULL,  # disk_full
    "25006": Verdict.AWAY,  # read_only_sql_transaction: a standby after a fail-over
    "58030": Verdict.AWAY,  # io_error
}
_POSTGRESQL_CLASSES = {
    "08": Verdict.AWAY,  # connection exception
    "28": Verdict.AWAY,  # invalid authorization
    "3D": Verdict.AWAY,  # no such database
    "53": Verdict.AWAY,  # insufficient resources
    "57": Verdict.AWAY,  # operator intervention
}
_MYSQL = {
    1205: Verdict.AGAIN,  # lock wait timeout
    1213: Verdict.AGAIN,  # deadlock; Galera's certification failure
    1020: Verdict.AGAIN,  # record has changed since last read
    1021: Verdict.FULL,
    1114: Verdict.FULL,
    1040: Verdict.AWAY,  # too many connections
    1047: Verdict.AWAY,  # Galera: not prepared for application use
    1053: Verdict.AWAY,  # shutdown in progress
    1290: Verdict.AWAY,  # read-only
    2002: Verdict.AWAY,
    2003: Verdict.AWAY,
    2006: Verdict.AWAY,
    2013: Verdict.AWAY,
}


def judge(error: sa.exc.SQLAlchemyError, *, committing: bool) -> Verdict | None:
    """Say what *error* means.

    :param committing: whether the transaction had already been asked to commit.
    :return: ``None`` for an error that says something about the statement, not about the database.
    """
    if isinstance(error, sa.exc.TimeoutError):  # every connection of the pool is in use
        return Verdict.AGAIN
    if isinstance(error, sa.exc.IntegrityError) or not isinstance(error, sa.exc.DBAPIError):
        return None
    if error.connection_invalidated:
        return Verdict.AWAY if committing else Verdict.LOST
    return _of_driver(error)


def _of_driver(error: sa.exc.DBAPIError) -> Verdict | None:
    cause = error.orig
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code & 0xFF)
    state: Any = getattr(cause, "sqlstate", _NOT_THERE)
    if state is not _NOT_THERE:
        if state is None:  # no answer of a server at all
            return Verdict.AWAY if isinstance(error, sa.exc.OperationalError) else None
        return _POSTGRESQL.get(state) or _POSTGRESQL_CLASSES.get(state[:2])
    number = cause.args[0] if cause is not None and cause.args else None
    return _MYSQL.get(number) if isinstance(number, int) else None
