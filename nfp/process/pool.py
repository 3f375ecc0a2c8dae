"""The listener's side of the worker pool: N workers, each with the queue that its keys choose."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from nfp.daemon.journal import request_id
from nfp.model.errors import Unavailable
from nfp.process.interfaces import Event, IPoolOwner
from nfp.process.keeper import Keeper, Pulse
from nfp.process.lane import Lane
from nfp.process.spawn import Spawn, Spawner
from nfp.process.tasks import Limits

_STOPPING = 5.0
"""Seconds of the time to stop that are kept for the workers to let go."""


def lane_of(key: str, count: int) -> int:
    """The queue of *key* among *count*: the same in every process and at every start."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % count


@implementer(IPoolOwner)
class Unheeding:
    """An owner that wants to know nothing; a base for those that want to know something."""

    def on_started(self, index: int) -> None:
        """A worker is ready."""

    def on_emit(self, index: int, name: str, payload: object) -> None:
        """A module told something."""

    def on_held(self, key: str, why: str) -> None:
        """A key is held."""

    def on_parked(self, event: Event, why: str) -> None:
        """An event is parked."""


class WorkerPool(Service):
    """Hands events and keys to worker processes.

    :param reactor: starts processes; the clock.
    :param group: the entry point group of the component's modules.
    :param config_files: what the workers read.
    :param count: how many workers.
    :param reader: ``package.module:function`` that turns the files into the settings that modules get.
    :param modules: the modules to load; ``None``: all that are registered.
    :param owner: told of what happens.
    :param component: what the workers' log lines are said to come from.
    :param stop_timeout: seconds that :meth:`stopService` may take.
    :param limits: how much runs at once.
    :param pulse: how workers are watched.
    :param spawn: starts a worker; given by tests.
    """

    name = "workers"
    log = Logger()

    def __init__(
        self,
        reactor: Any,
        group: str,
        config_files: Sequence[str],
        count: int,
        *,
        reader: str,
        modules: Sequence[str] | None = None,
        owner: IPoolOwner | None = None,
        component: str = "nfp",
        stop_timeout: float = 30.0,
        limits: Limits | None = None,
        pulse: Pulse | None = None,
        spawn: Spawn | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if count < 1:
            raise ValueError("a pool has at least one worker")
        self._reactor = reactor
        self._stop_timeout = stop_timeout
        told: IPoolOwner = _Guarded(owner if owner is not None else Unheeding())
        spawn = spawn or Spawner(reactor, group, reader, tuple(config_files), modules, component)
        self._lanes = [Lane(index, reactor, told, limits or Limits(), jitter) for index in range(count)]
        self._keepers = [
            Keeper(lane, reactor, spawn, told, self, pulse or Pulse(), jitter) for lane in self._lanes
        ]
        self._turns = cycle(self._lanes)
        self._waiting: list[Deferred[None]] = []
        self._cannot_start: Failure | None = None
        self._not_ready = set(range(count))
        self._drained: Deferred[None] | None = None

    def startService(self) -> None:
        """Start the workers; :meth:`when_started` tells when they are ready."""
        Service.startService(self)
        for keeper in self._keepers:
            keeper.start()

    def when_started(self) -> Deferred[None]:
        """Fires when every worker has been ready once.

        :return: fails with :class:`~nfp.model.errors.NfpError` when one says why it cannot start
            (a module unknown, broken, of the wrong interface, claiming another's name).
        """
        waiting: Deferred[None] = Deferred()
        if self._cannot_start is not None:
            waiting.errback(self._cannot_start)
        elif self._not_ready:
            self._waiting.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def submit(self, event: Event) -> Deferred[Any]:
        """Queue *event* for the worker that its key chooses; without one, for any.

        What is unanswered when the pool stops stays unanswered for ever: who submitted it must
        not acknowledge it.  Cancelling the Deferred does not stop the event.

        :return: the handler's result; fails with the :class:`~nfp.model.errors.NfpError` that the
            handler raised, :class:`~nfp.model.errors.Permanent` when it was parked,
            :class:`~nfp.model.errors.Unavailable` when the pool is stopping,
            :class:`~nfp.model.errors.Invalid` when it cannot be written as JSON.
        """
        if self._drained is not None:
            return fail(Unavailable("stopping"))
        return self.route(event, nested=False)

    def wake(self, key: str) -> None:
        """Have *key* run in its worker; wakes coalesce, none is lost while the pool lives."""
        self._lanes[lane_of(key, len(self._lanes))].wake(key)

    def release(self, key: str) -> bool:
        """Let a held key be woken again.

        :return: whether it was held.
        """
        return self._lanes[lane_of(key, len(self._lanes))].release(key)

    def stats(self) -> list[dict[str, object]]:
        """Per worker: index, pid, ready, restarts, last_death, events_waiting, events_running,
        keys_waiting, keys_running, keys_sleeping, suspects, strikes, held."""
        return [keeper.stats() for keeper in self._keepers]

    def drain(self, timeout: float) -> Deferred[bool]:
        """Take nothing more and finish what is in hand: all events, and the keys that run.

        :param timeout: seconds to wait at most.
        :return: whether all was finished.
        """
        return Deferred.fromCoroutine(self._drain(timeout))

    async def _drain(self, timeout: float) -> bool:
        if self._drained is None:
            self._drained = DeferredList([lane.drain() for lane in self._lanes]).addCallback(
                lambda done: None
            )
        waiting: Deferred[None] = Deferred()
        _ = self._drained.addCallback(lambda done: None if waiting.called else waiting.callback(None))
        try:
            await waiting.addTimeout(max(timeout, 0.0), self._reactor)
        except TimedOut:
            self.log.warn(
                "gave up waiting for the workers after {timeout} s: {stats}",
                timeout=timeout,
                stats=self.stats(),
            )
            return False
        return True

    def stopService(self) -> Deferred[None]:
        """Drain, then let the workers go; never longer than the time to stop."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        end = self._reactor.seconds() + self._stop_timeout
        keep = min(_STOPPING, self._stop_timeout / 2)
        await self.drain(self._stop_timeout - keep)
        left = max(end - self._reactor.seconds(), 0.1)
        await DeferredList([keeper.stop(left) for keeper in self._keepers])

    # Asked by the keepers

    def route(self, event: Event, nested: bool) -> Deferred[Any]:
        """Queue an event, also one that a worker submits."""
        request = request_id.get()
        if request is not None and "request_id" not in event.context:
            event = replace(event, context={**event.context, "request_id": request})
        key = event.key
        lane = next(self._turns) if key is None else self._lanes[lane_of(key, len(self._lanes))]
        try:
            return lane.submit(event, nested)
        except Exception:  # noqa: BLE001 -- whatever it is belongs to the submitter
            return fail()

    def first_ready(self, index: int, failure: Failure | None) -> None:
        """Tell :meth:`when_started`."""
        if failure is None:
            self._not_ready.discard(index)
        elif self._not_ready and self._cannot_start is None:
            self._cannot_start = failure
        if self._cannot_start is None and self._not_ready:
            return
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if self._cannot_start is not None:
                each.errback(self._cannot_start)
            else:
                each.callback(None)


@implementer(IPoolOwner)
class _Guarded:
    """Keeps an owner's errors out of the pool."""

    log = Logger()

    def __init__(self, owner: IPoolOwner) -> None:
        self._owner = owner

    def on_started(self, index: int) -> None:
        self._tell(self._owner.on_started, index)

    def on_emit(self, index: int, name: str, payload: object) -> None:
        self._tell(self._owner.on_emit, index, name, payload)

    def on_held(self, key: str, why: str) -> None:
        self.log.error("{key} is held: {why}", key=key, why=why)
        self._tell(self._owner.on_held, key, why)

    def on_parked(self, event: Event, why: str) -> None:
        self.log.error("{name} of {key} is parked: {why}", name=event.name, key=event.key, why=why)
        self._tell(self._owner.on_parked, event, why)

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        try:
            what(*arguments)
        except Exception:  # noqa: BLE001 -- the pool goes on
            self.log.failure("the pool's owner failed")
