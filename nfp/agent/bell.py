"""A bell: those who wait hear it, those who do not must look for themselves."""

from __future__ import annotations

from contextlib import suppress

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


class Bell:
    """Wakes all that wait, and forgets.

    A bell keeps nothing, so a waiter looks at the state first and waits in the same turn of the
    reactor; then no ring between the look and the wait can be missed.
    """

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def ring(self) -> None:
        """Wake all that wait now."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:  # who was woken first may have cancelled the next
                one.callback(None)

    async def wait(self, clock: IReactorTime, seconds: float) -> None:
        """Wait for a ring, at most *seconds*."""
        one: Deferred[None] = Deferred(self._forget)
        self._waiting.append(one)
        _ = one.addTimeout(seconds, clock)
        with suppress(defer.TimeoutError):
            await one

    def _forget(self, one: Deferred[None]) -> None:
        if one in self._waiting:
            self._waiting.remove(one)
