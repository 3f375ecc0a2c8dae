"""Runs events and keys inside a worker."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import count
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from nfp.daemon.journal import request_id
from nfp.model.errors import NotFound, Unavailable, by_code
from nfp.process import wire
from nfp.process.interfaces import (
    Event,
    EventHandler,
    IModule,
    IWorkerContext,
    KeyKind,
    RunAgain,
    Settled,
)
from nfp.process.registry import merged

FIRST_RETRY, LONGEST_RETRY = 0.1, 5.0
"""Seconds between tries of an event whose handler says ``Unavailable``."""


@implementer(IWorkerContext)
class Runner:
    """Does what the listener sends, and is what modules know of the worker.

    :param index: the worker's number.
    :param reactor: the worker's; waits between retries.
    :param send: takes messages for the listener.
    :param jitter: gives a number in [0, 1).
    """

    log = Logger()

    def __init__(
        self,
        index: int,
        reactor: Any,
        send: Callable[[bytes], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.index = index
        self.reactor = reactor
        self._send = send
        self._jitter = jitter
        self._modules: Sequence[IModule] = ()
        self._handlers: Mapping[str, EventHandler] = {}
        self._kinds: Mapping[str, KeyKind] = {}
        self._running: set[Deferred[None]] = set()
        self._asked: dict[int, Deferred[object]] = {}
        self._identities = count(1)
        self._stopping = False

    async def start(self, modules: Sequence[IModule]) -> None:
        """Start *modules* and say that events may come.

        :raises nfp.process.registry.Claimed: two of them have one event or kind of key.
        """
        for module in modules:
            self._modules = (*self._modules, module)
            await module.start(self)
        self._handlers = merged("event", ((module, module.event_handlers()) for module in modules))
        self._kinds = merged("kind of key", ((module, module.key_kinds()) for module in modules))
        kinds = {name: kind.suspect for name, kind in self._kinds.items()}
        self._send(wire.encode(wire.READY, kinds))

    async def stop(self) -> None:
        """End what still runs, then stop the modules, last first."""
        self._stopping = True
        for running in [*self._running]:
            running.cancel()
        for module in reversed(self._modules):
            try:
                await module.stop()
            except Exception:  # noqa: BLE001 -- the others must be stopped too
                self.log.failure("{module} did not stop well", module=module.name)

    # What modules ask

    def wake(self, key: str) -> None:
        """Ask that *key* be run."""
        self._send(wire.encode(wire.WAKE, key))

    def submit(self, event: Event) -> Deferred[object]:
        """Have *event* done by the worker that owns its key."""
        context = event.context
        if "request_id" not in context and (request := request_id.get()) is not None:
            context = {**context, "request_id": request}
        identity = next(self._identities)
        self._send(wire.encode(wire.SUBMIT, identity, event.key, event.name, event.payload, context))
        answer = self._asked[identity] = Deferred()
        return answer

    def emit(self, name: str, payload: object) -> None:
        """Tell the listener something."""
        self._send(wire.encode(wire.EMIT, name, payload))

    # What the listener sends

    def received(self, message: list[Any]) -> None:
        """Take a message other than :data:`~nfp.process.wire.STOP`."""
        code = message[0]
        if code == wire.EVENT:
            _, identity, key, name, payload, context = message
            self._track(self._event(identity, Event(key, name, payload, context)))
        elif code == wire.RUN:
            self._track(self._key(message[1], message[2]))
        elif code == wire.PING:
            self._send(wire.encode(wire.PONG))
        elif code == wire.ANSWER:
            self._asked.pop(message[1]).callback(message[2])
        elif code == wire.FAILURE:
            self._asked.pop(message[1]).errback(by_code(*message[2:]))

    def _track(self, work: Coroutine[Any, Any, None]) -> None:
        running: Deferred[None] = Deferred.fromCoroutine(work)
        if running.called:
            return
        self._running.add(running)
        _ = running.addBoth(lambda result: self._running.discard(running))

    async def _event(self, identity: int, event: Event) -> None:
        request_id.set(_text(event.context.get("request_id")))
        try:
            answer = wire.encode(wire.ANSWER, identity, await self._handled(event))
        except Exception as error:  # noqa: BLE001 -- the submitter is told, whatever it was
            if self._stopping and isinstance(error, CancelledError):
                return  # unanswered: whoever sent it sends it again
            answer = wire.failure(identity, error, self.log, event.name)
        self._send(answer)

    async def _handled(self, event: Event) -> object:
        handler = self._handlers.get(event.name)
        if handler is None:
            raise NotFound(f"no module handles the event {event.name!r}")
        wait = FIRST_RETRY
        while True:
            try:
                return await handler(event)
            except Unavailable as error:
                if wait == FIRST_RETRY:  # once is enough: the store may be away for hours
                    self.log.warn("{name} waits: {why}", name=event.name, key=event.key, why=str(error))
            await deferLater(self.reactor, wait * (0.5 + self._jitter() / 2))
            wait = min(wait * 2, LONGEST_RETRY)

    async def _key(self, identity: int, key: str) -> None:
        outcome, delay = wire.SETTLED, None
        try:
            ended = await self._kinds[key.partition(":")[0]].run(key)
            if isinstance(ended, RunAgain):
                outcome, delay = wire.AGAIN, max(0.0, float(ended.delay))
            elif not isinstance(ended, Settled):
                raise TypeError(f"a run gives Settled() or RunAgain(delay), not {ended!r}")
        except Unavailable as error:
            self.log.warn("{key} waits: {why}", key=key, why=str(error))
            outcome = wire.UNAVAILABLE
        except Exception as error:  # noqa: BLE001 -- it is run again, whatever it was
            if self._stopping and isinstance(error, CancelledError):
                return
            self.log.failure("the run of {key} failed", key=key)
            outcome = wire.FAILED
        self._send(wire.encode(wire.RAN, identity, outcome, delay))


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
