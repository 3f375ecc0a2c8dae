"""Keeps one worker alive: starts it, listens to its pulse, replaces it when it dies."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from nfp.model.errors import NfpError
from nfp.process import wire
from nfp.process.interfaces import Event, IPoolOwner
from nfp.process.lane import Lane
from nfp.process.spawn import IChild, Spawn


@dataclass(frozen=True)
class Pulse:
    """How a worker is watched; seconds.

    :ivar interval: between pings.
    :ivar silence: without any message, after which it is killed.
    :ivar first_pause: before a worker that died without having been of use is replaced; doubles each time.
    :ivar longest_pause: the most that it doubles to.
    :ivar proven: how long a worker must live to count as having been of use.
    """

    interval: float = 5.0
    silence: float = 30.0
    first_pause: float = 0.5
    longest_pause: float = 30.0
    proven: float = 10.0


class Router(Protocol):
    """What a worker may ask of the pool."""

    def route(self, event: Event, nested: bool) -> Deferred[Any]:
        """Queue an event."""

    def wake(self, key: str) -> None:
        """Wake a key."""

    def first_ready(self, index: int, failure: Failure | None) -> None:
        """The worker has started, or has said why it cannot."""


class Keeper:
    """One worker and its replacements.

    :param lane: what it has to do.
    :param clock: pings and pauses.
    :param spawn: starts a worker.
    :param jitter: gives a number in [0, 1).
    """

    log = Logger()

    def __init__(
        self,
        lane: Lane,
        clock: Any,
        spawn: Spawn,
        owner: IPoolOwner,
        router: Router,
        pulse: Pulse,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._lane = lane
        self._clock = clock
        self._spawn = spawn
        self._owner = owner
        self._router = router
        self._pulse = pulse
        self._jitter = jitter
        self._child: IChild | None = None
        self._born = 0.0
        self._ready = False
        self._reason = ""
        self._useless = 0
        self._restarts = 0
        self._heard = False
        self._silent = 0.0
        self._pause: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None
        self._table: dict[str, Callable[..., None]] = {
            wire.FAILURE: lane.failed,
            wire.RAN: lane.ran,
            wire.READY: self._is_ready,
            wire.BROKEN: self._is_broken,
            wire.WAKE: router.wake,
            wire.EMIT: self._emit,
            wire.SUBMIT: self._submit,
            wire.PONG: self._alive,
        }
        self._ping = LoopingCall(self._listen)
        self._ping.clock = clock
        self._pong = wire.encode(wire.PING)

    # The pool's side

    def start(self) -> None:
        """Start the first worker."""
        _ = self._ping.start(self._pulse.interval, now=False)
        self._start_child()

    def stop(self, timeout: float) -> Deferred[None]:
        """Let the worker finish and go; fires when it has.

        :param timeout: seconds until it is killed.
        """
        if self._ping.running:
            self._ping.stop()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        if self._child is None:
            stopped.callback(None)
            return stopped
        self._child.send(wire.encode(wire.STOP))
        kill = self._clock.callLater(timeout, self._child.kill)
        return stopped.addCallback(lambda result: kill.cancel() if kill.active() else None)

    def stats(self) -> dict[str, object]:
        """Numbers for the operator."""
        return {
            "index": self._lane.index,
            "pid": self._child.pid if self._child else None,
            "ready": self._ready,
            "restarts": self._restarts,
            "last_death": self._reason,
            **self._lane.stats(),
        }

    # The worker's life

    def _start_child(self) -> None:
        self._pause = None
        self._ready = False
        self._heard, self._silent = True, 0.0
        self._born = self._clock.seconds()
        try:
            self._child = self._spawn(self._lane.index, self._received, self._ended)
        except OSError as error:  # no memory, processes or descriptors left: a pause may help
            self._ended(f"could not be started: {error}")

    def _listen(self) -> None:
        """Count silence in pings, not by the clock: time in which we ourselves stood still is no silence."""
        if self._child is None:
            return
        self._silent = 0.0 if self._heard else self._silent + self._pulse.interval
        self._heard = False
        if self._silent >= self._pulse.silence:
            self.log.error(
                "worker {index} has been silent for {seconds} s and is killed",
                index=self._lane.index,
                pid=self._child.pid,
                seconds=self._silent,
            )
            self._silent = 0.0
            self._child.abort()
            return
        self._child.send(self._pong)

    def _ended(self, why: str) -> None:
        index, lived = self._lane.index, self._clock.seconds() - self._born
        useless = not self._ready or (lived < self._pulse.proven and not self._lane.busy)
        self._child, self._ready = None, False
        if self._stopped is not None:
            self._stopped.callback(None)  # killed by us or gone as told: nobody is to blame
            return
        self._restarts += 1
        self._reason = why
        self._useless = self._useless + 1 if useless else 0
        pause = self._next_pause()
        self.log.error(
            "worker {index} died: {why}; a fresh one in {pause} s",
            index=index,
            why=why,
            pause=pause,
            lived=lived,
        )
        self._lane.died(why)
        if self._stopped is not None:
            return  # what died was the last thing that a stopping pool waited for
        if pause:
            self._pause = self._clock.callLater(pause, self._start_child)
        else:
            self._start_child()

    def _next_pause(self) -> float:
        if not self._useless:
            return 0.0
        longest = min(self._pulse.longest_pause, self._pulse.first_pause * 2.0 ** min(self._useless - 1, 16))
        return float(longest * (0.5 + self._jitter() / 2))

    # Its messages

    def _received(self, message: list[Any]) -> None:
        self._heard = True
        code = message[0]
        if code == wire.ANSWER:
            self._lane.answered(message[1], message[2])
        else:
            self._table[code](*message[1:])

    def _is_ready(self, kinds: dict[str, bool]) -> None:
        assert self._child is not None
        self._ready = True
        self.log.info(
            "worker {index} is ready", index=self._lane.index, pid=self._child.pid, kinds=sorted(kinds)
        )
        self._owner.on_started(self._lane.index)
        self._router.first_ready(self._lane.index, None)
        self._lane.started(kinds, self._child.send)

    def _is_broken(self, reason: str) -> None:
        self.log.error("worker {index} cannot start: {reason}", index=self._lane.index, reason=reason)
        self._router.first_ready(self._lane.index, Failure(NfpError(reason)))

    def _emit(self, name: str, payload: object) -> None:
        self._owner.on_emit(self._lane.index, name, payload)

    def _submit(self, identity: int, key: str | None, name: str, payload: Any, context: Any) -> None:
        child = self._child
        assert child is not None

        def answer(result: object) -> None:
            if child is not self._child:
                return  # who asked is dead
            if isinstance(result, Failure):
                assert result.value is not None
                child.send(wire.failure(identity, result.value, self.log, name))
            else:
                child.send(wire.encode(wire.ANSWER, identity, result))

        _ = self._router.route(Event(key, name, payload, context), nested=True).addBoth(answer)

    def _alive(self) -> None:
        """A pong: that it came is all it says."""
