"""Work in the background that is known by name, logged when it fails, and awaited at stop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")


class InFlight:
    """Keeps track of coroutines that nobody awaits.

    :param log: gets the failures.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._running: dict[Deferred[Any], str] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def names(self) -> list[str]:
        """What is under way, oldest first."""
        return list(self._running.values())

    def start(self, name: str, work: Coroutine[Any, Any, T]) -> Deferred[T | None]:
        """Run *work* from now on.

        :param name: what it is, for the log.
        :return: fires with its result, or with ``None`` once its failure has been logged; cancelling
            it cancels the work.
        """
        running: Deferred[Any] = Deferred.fromCoroutine(work)
        self._running[running] = name

        def ended(result: object) -> object:
            del self._running[running]
            if isinstance(result, Failure):
                if not result.check(CancelledError):
                    self._log.failure("{work} failed", failure=result, work=name)
                return None
            return result

        return running.addBoth(ended)

    def drain(self, reactor: IReactorTime, timeout: float) -> Deferred[None]:
        """Wait for all that is under way, also for what it starts meanwhile.

        :param timeout: seconds until what is left is cancelled, and named in the log.
        """
        return Deferred.fromCoroutine(self._drain(reactor, timeout))

    async def _drain(self, reactor: IReactorTime, timeout: float) -> None:
        end = reactor.seconds() + timeout
        while self._running and reactor.seconds() < end:
            # A fresh Deferred for each: addTimeout must end the waiting, not the work.
            ends = [_end_of(running) for running in self._running]
            waiting = DeferredList(ends, consumeErrors=True)
            try:
                await waiting.addTimeout(end - reactor.seconds(), reactor)
            except defer.TimeoutError:
                break
        if self._running:
            self._log.warn("gave up waiting for {count}: {names}", count=len(self), names=self.names)
        for running in list(self._running):
            running.cancel()


def _end_of(running: Deferred[Any]) -> Deferred[None]:
    end: Deferred[None] = Deferred()

    def pass_on(result: object) -> object:
        if not end.called:
            end.callback(None)
        return result

    _ = running.addBoth(pass_on)
    return end
