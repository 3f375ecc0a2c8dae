"""Many small transactions in one: what arrives while one runs goes together into the next.

A flush to disk costs the same for one message as for a hundred (``design.md`` section 4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nfp.manager.store.engine import Store, Transaction
from nfp.manager.store.gathered import gathering
from nfp.model.errors import Unavailable

T = TypeVar("T")


@dataclass
class _Item:
    """One thing to do; if *many*, a look-up of ``args[0]``, which is done for others in the same call."""

    sort_key: str
    function: Transaction[Any]
    args: tuple[object, ...]
    done: Deferred[Any] = field(default_factory=Deferred)
    context: Context = field(default_factory=copy_context)
    many: bool = False

    def run(self, connection: sa.Connection) -> Any:
        """Run it under the request id of whoever asked, not of whoever began the group."""
        if self.many:
            return self.function(connection, self.args).get(self.args[0])
        return self.context.run(self.function, connection, *self.args)


class GroupCommit:
    """Commits what is written at about the same time together, and reads together likewise.

    The functions of a group run sorted by key, so that two groups on two hosts take their row locks in
    one order.  If one fails, the group is rolled back and each runs again in a transaction of its own: only
    the guilty one fails.

    :param store: runs the transactions.
    :param clock: lets one turn of the reactor pass, to collect all that it brings.
    :param limit: how many go into one transaction at most.
    """

    def __init__(self, store: Store, clock: IReactorTime, limit: int = 256) -> None:
        self._store = store
        self._writes = _Lane(clock, limit, store.write)
        self._reads = _Lane(clock, limit, store.read)

    async def write(self, sort_key: str, function: Transaction[T], *args: object) -> T:
        """Run ``function(connection, *args)`` in a transaction shared with others; returns once committed.

        :param sort_key: what it is about: the id whose rows it locks.
        :raises nfp.model.errors.Unavailable: as for :meth:`Store.write`; for the whole group.
        """
        item = _Item(sort_key, function, args)
        self._writes.add(item)
        result: T = await item.done
        return result

    async def look_up(self, function: Transaction[Mapping[str, T]], key: str) -> T | None:
        """Give ``function(connection, keys)[key]``, if it is there: one call for all who ask meanwhile."""
        item = _Item("", function, (key,), many=True)
        self._reads.add(item)
        result: T | None = await item.done
        return result

    async def read(self, function: Transaction[T], *args: object) -> T:
        """Run ``function(connection, *args)`` in a reading transaction shared with others."""
        item = _Item("", function, args)
        self._reads.add(item)
        result: T = await item.done
        return result


class _Lane:
    """One group at a time; the next one collects meanwhile."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, limit: int, run: Callable[..., Awaitable[Any]]) -> None:
        self._clock = clock
        self._limit = limit
        self._transaction = run
        self._waiting: list[_Item] = []
        self._busy = False
        self._working: Deferred[None] | None = None

    def add(self, item: _Item) -> None:
        self._waiting.append(item)
        if not self._busy:
            self._busy = True
            self._clock.callLater(0, self._start)

    def _start(self) -> None:
        self._working = Deferred.fromCoroutine(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                await self._together(sorted(group, key=lambda item: item.sort_key))
        finally:
            self._busy = False

    async def _together(self, group: Sequence[_Item]) -> None:
        if len(group) > 1:
            try:
                results = await self._transaction(_run_all, group)
            except Unavailable as error:
                for item in group:
                    item.done.errback(error)
                return
            except Exception as error:  # noqa: BLE001 -- each runs again alone and gets its own
                self._log.debug("a group of {count} is taken apart: {error}", count=len(group), error=error)
            else:
                for item, result in zip(group, results, strict=True):
                    item.done.callback(result)
                return
        for item in group:
            try:
                result = await self._transaction(item.run)
            except Exception as error:  # noqa: BLE001 -- handed to whoever asked
                item.done.errback(error)
            else:
                item.done.callback(result)


def _run_all(connection: sa.Connection, group: Sequence[_Item]) -> list[Any]:
    asked: dict[Transaction[Any], set[object]] = {}
    for item in group:
        if item.many:
            asked.setdefault(item.function, set()).add(item.args[0])
    found = {function: function(connection, keys) for function, keys in asked.items()}
    with gathering(connection, [argument for item in group for argument in item.args]):
        return [
            found[item.function].get(item.args[0]) if item.many else item.run(connection) for item in group
        ]
