"""One worker's event queue, as its listener keeps it: what waits, what runs, what sleeps.

A worker is told only what it shall run now, so that whatever it has been told and not
answered is exactly what was running when it dies.

A key is in one of these states; one that is in none has nothing to do:

| state    | a wake                | a run's end                                | the worker's death  |
|----------|-----------------------|--------------------------------------------|---------------------|
| waiting  | nothing               |                                            | nothing             |
| running  | remembered            | woken: waiting; again: sleeping; else: none| suspect, or waiting |
| suspect  | nothing               |                                            | nothing             |
| sleeping | waiting               | (its time comes: waiting)                  | nothing             |
| held     | nothing               |                                            | nothing             |
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nfp.model.errors import Permanent, by_code
from nfp.process import suspects
from nfp.process.interfaces import Event, IPoolOwner
from nfp.process.precedence import Precedence
from nfp.process.suspects import Ledger, Running
from nfp.process.tasks import FIRST_WAIT, LONGEST_WAIT, EventQueue, EventTask, KeyTask, Limits, Task
from nfp.process.wire import FAILED, RUN, SETTLED, UNAVAILABLE, encode


class Lane:
    """What one worker has to do.

    :param index: the worker's number.
    :param clock: wakes sleeping keys.
    :param owner: told of what is parked and held.
    :param jitter: gives a number in [0, 1).
    """

    log = Logger()

    def __init__(
        self,
        index: int,
        clock: IReactorTime,
        owner: IPoolOwner,
        limits: Limits,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.index = index
        self._clock = clock
        self._owner = owner
        self._limits = limits
        self._jitter = jitter
        self._send: Callable[[bytes], None] | None = None
        self._kinds: Mapping[str, bool] = {}
        self._identities = count(1)
        self._ledger = Ledger()
        self._draining = False
        self._idle: list[Deferred[None]] = []
        self._running: dict[int, Task] = {}
        self._events = EventQueue()
        self._events_running = 0
        self._keys: dict[str, KeyTask] = {}
        self._awake: deque[KeyTask] = deque()
        self._keys_running = 0
        self._held: set[str] = set()
        self._precedence = Precedence(clock, limits, self._pump)

    # What comes from outside

    def submit(self, event: Event, nested: bool = False) -> Deferred[Any]:
        """Queue *event*; fires with its result.

        :param nested: a worker asks for it, on behalf of what it runs.
        :raises nfp.model.errors.Invalid: it cannot be written as JSON.
        """
        task = EventTask(next(self._identities), event, nested)
        self._events.push(task)
        self._precedence.events(self._events.offered + self._events_running)
        self._pump()
        return task.answer

    def wake(self, key: str) -> None:
        """Run *key* soon; while it runs: again, at once after."""
        if key in self._held or self._draining:
            return
        task = self._keys.get(key)
        if task is None:
            task = self._keys[key] = KeyTask(key)
        elif task.running:
            task.woken = True
            return
        elif task.timer is not None:
            task.timer.cancel()
            task.timer = None
        else:
            return
        self._awake.append(task)
        self._pump()

    def release(self, key: str) -> bool:
        """Let a held key run again.

        :return: whether it was held.
        """
        if key not in self._held:
            return False
        self._held.discard(key)
        return True

    def drain(self) -> Deferred[None]:
        """Begin no more runs of keys; fires when no event is unanswered and no key runs."""
        self._draining = True
        self._forget_keys()
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        self._tell_idle()
        return done

    @property
    def ready(self) -> bool:
        """Whether there is a worker that takes work."""
        return self._send is not None

    @property
    def busy(self) -> bool:
        """Whether anything is under way that may be a suspect."""
        return self._events_running > 0 or self._keys_running > 0

    def stats(self) -> dict[str, object]:
        """Numbers for the operator."""
        sleeping = [task for task in self._keys.values() if task.timer is not None]
        return {
            "events_waiting": len(self._events),
            "events_running": self._events_running,
            "keys_waiting": len(self._awake),
            "keys_running": sum(1 for task in self._keys.values() if task.running),
            "keys_sleeping": len(sleeping),
            "suspects": len(self._ledger.suspects),
            "strikes": sum(self._ledger.strikes.values()),
            "held": sorted(self._held),
        }

    # What comes from the worker

    def started(self, kinds: Mapping[str, bool], send: Callable[[bytes], None]) -> None:
        """A worker is ready.

        :param kinds: its kinds of keys, and whether a run of such a key may be a suspect.
        :param send: takes messages for it.
        """
        self._kinds = kinds
        self._send = send
        self._pump()

    def answered(self, identity: int, result: object) -> None:
        """An event was handled."""
        task = self._event_ended(identity)
        task.answer.callback(result)
        self._after(task)

    def failed(self, identity: int, code: str, message: str, field: str | None) -> None:
        """An event's handler raised."""
        task = self._event_ended(identity)
        task.answer.errback(by_code(code, message, field))
        self._after(task)

    def ran(self, identity: int, outcome: str, delay: float | None) -> None:
        """A key's run has ended.

        :param delay: seconds until the next run, where the outcome is :data:`~nfp.process.wire.AGAIN`.
        """
        task = self._running.pop(identity)
        assert isinstance(task, KeyTask)
        task.running = 0
        if self._may_be_suspect(task.key):
            self._keys_running -= 1
        woken, task.woken = task.woken, False
        if outcome in (UNAVAILABLE, FAILED):
            delay = self._wait_after_failure(task, outcome, woken)
        else:
            task.failures = 0
            if woken:
                delay = 0.0
        if self._draining or (outcome == SETTLED and not woken):
            del self._keys[task.key]
        elif delay:
            task.timer = self._clock.callLater(delay, self._time_has_come, task)
        else:
            self._awake.append(task)
        self._after(task)

    def died(self, why: str) -> None:
        """The worker is gone; whatever it ran shall run in the next one.

        :param why: how it died, for an operator.
        """
        self._send = None
        ran = [*self._running.values()]
        self._running.clear()
        self._events_running = self._keys_running = 0
        running = []
        for task in ran:
            if isinstance(task, KeyTask):
                task.running = 0
                task.woken = False
                if not self._may_be_suspect(task.key):
                    self._requeue_key(task)
                    continue
            running.append(Running(task, task.nested))
            if isinstance(task, EventTask):
                task.nested = False  # whoever it ran for is gone too, or waits for a lane that is judged
        verdict = suspects.died(self._ledger, running, self._limits.strikes)
        self._ledger = verdict.ledger
        if isinstance(verdict.struck, EventTask | KeyTask) and verdict.out:
            self._take_out(verdict.struck, why)
        if self._draining:
            self._forget_keys()
        self._tell_idle()

    # Inside

    def _may_be_suspect(self, key: str) -> bool:
        return self._kinds.get(key.partition(":")[0], True)

    def _requeue_key(self, task: KeyTask) -> None:
        if not self._draining:
            self._awake.append(task)

    def _forget_keys(self) -> None:
        """Let go of every key that does not run."""
        self._awake.clear()
        self._precedence.forget()
        for key, task in [*self._keys.items()]:
            if task.running:
                continue
            if task.timer is not None:
                task.timer.cancel()
            self._ledger = suspects.finished(self._ledger, task)
            del self._keys[key]

    def _event_ended(self, identity: int) -> EventTask:
        task = self._running.pop(identity)
        assert isinstance(task, EventTask)
        self._events_running -= 1
        self._events.ended(task)
        return task

    def _after(self, task: Task) -> None:
        if self._ledger.suspects:
            self._ledger = suspects.finished(self._ledger, task)
        self._pump()
        if self._idle:
            self._tell_idle()

    def _wait_after_failure(self, task: KeyTask, outcome: str, woken: bool) -> float:
        task.failures += 1
        longest = FIRST_WAIT[outcome] if woken else LONGEST_WAIT[outcome]
        wait: float = min(longest, FIRST_WAIT[outcome] * 2 ** min(task.failures - 1, 16))
        return wait * (0.5 + self._jitter() / 2)

    def _time_has_come(self, task: KeyTask) -> None:
        task.timer = None
        self._awake.append(task)
        self._pump()

    def _take_out(self, task: Task, why: str) -> None:
        if isinstance(task, KeyTask):
            self._held.add(task.key)
            del self._keys[task.key]
            self._owner.on_held(task.key, why)
            return
        self._events.ended(task)
        self._owner.on_parked(task.event, why)
        task.answer.errback(
            Permanent(f"{task.event.name}: its worker died of it {self._limits.strikes} times; parked")
        )

    def _tell_idle(self) -> None:
        if not self._idle or self._events or self._events_running or self._keys_running:
            return
        if self._ledger.suspects:
            return
        idle, self._idle = self._idle, []
        for each in idle:
            each.callback(None)

    # Handing out

    def _pump(self) -> None:
        """Give the worker whatever it may run now."""
        if self._send is None:
            return
        if self._ledger.suspects:
            self._pump_alone()
            return
        events = self._events
        while events and (self._events_running < self._limits.events or events.first.nested):
            self._start_event(events.pop())
        awake = self._awake
        for _ in range(self._precedence.keys(len(awake))):
            if self._keys_running >= self._limits.keys:
                break
            self._precedence.started()
            self._start_key(awake.popleft())

    def _pump_alone(self) -> None:
        """While there are suspects: one of them, what it submits, and keys that cannot be suspects."""
        for event in self._events.pop_nested():
            self._start_event(event)
        for suspect in self._ledger.suspects:
            if isinstance(suspect, EventTask) and suspect.nested and suspect.identity not in self._running:
                self._start_event(suspect)
        for _ in range(len(self._awake)):
            key = self._awake.popleft()
            if self._may_be_suspect(key.key):
                self._awake.append(key)
            else:
                self._start_key(key)
        counted = [
            Running(task)
            for task in self._running.values()
            if isinstance(task, EventTask) or self._may_be_suspect(task.key)
        ]
        alone = suspects.alone_next(self._ledger, counted)
        if isinstance(alone, EventTask):
            self._start_event(alone)
        elif isinstance(alone, KeyTask):
            self._start_key(alone)

    def _start_event(self, task: EventTask) -> None:
        assert self._send is not None
        self._running[task.identity] = task
        self._events_running += 1
        self._send(task.message)

    def _start_key(self, task: KeyTask) -> None:
        kind = task.key.partition(":")[0]
        if kind not in self._kinds:
            self.log.error("no module runs keys of kind {kind}", kind=kind, key=task.key)
            del self._keys[task.key]
            return
        assert self._send is not None
        task.running = next(self._identities)
        self._running[task.running] = task
        if self._kinds[kind]:
            self._keys_running += 1
        self._send(encode(RUN, task.running, task.key))
