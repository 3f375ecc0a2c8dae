"""What functions that share a transaction do together: rows that only they add, and look-ups for them all.

A statement costs nearly the same for one row as for a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

Q = TypeVar("Q")

_KEY = "nfp_gathered"


class _Gathered:
    def __init__(self, arguments: Collection[object]) -> None:
        self.arguments = arguments
        self.added: dict[sa.Insert, list[Mapping[str, Any]]] = {}
        self.found: dict[object, Any] = {}


@contextmanager
def gathering(connection: sa.Connection, arguments: Collection[object]) -> Iterator[None]:
    """Until the end, keep what :func:`add` gets; then write it.

    :param arguments: of all functions that are going to run; :func:`common` looks through them.
    """
    gathered = connection.info[_KEY] = _Gathered(arguments)
    try:
        yield
        for statement, rows in gathered.added.items():
            connection.execute(statement, rows)
    finally:
        del connection.info[_KEY]


def add(connection: sa.Connection, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows* before the transaction ends: at once, unless others share it.

    For rows that nobody looks for, in the same transaction, but by what :func:`common` gave.
    """
    gathered: _Gathered | None = connection.info.get(_KEY)
    if gathered is None:
        connection.execute(statement, rows)
    else:
        gathered.added.setdefault(statement, []).extend(rows)


def common(
    connection: sa.Connection,
    kind: type[Q],
    question: Q,
    look_up: Callable[[sa.Connection, Sequence[Q]], dict[str, Any]],
) -> dict[str, Any]:
    """Give what *look_up* finds for *question*, and for all of its *kind* among the arguments.

    It is asked once in a shared transaction; :func:`note` tells the later functions what has changed since.
    """
    gathered: _Gathered | None = connection.info.get(_KEY)
    if gathered is None:
        return look_up(connection, [question])
    if look_up not in gathered.found:
        questions = [argument for argument in gathered.arguments if isinstance(argument, kind)]
        gathered.found[look_up] = look_up(connection, questions)
    found: dict[str, Any] = gathered.found[look_up]
    return found


def note(connection: sa.Connection, look_up: object, key: str, value: object) -> None:
    """From now on, *look_up* finds *value* as *key*."""
    gathered: _Gathered | None = connection.info.get(_KEY)
    if gathered is not None and look_up in gathered.found:
        gathered.found[look_up][key] = value
