"""What a lane holds: events in the order of their keys, and keys that are not settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from nfp.process.interfaces import Event
from nfp.process.suspects import STRIKES
from nfp.process.wire import EVENT, FAILED, UNAVAILABLE, encode

LONGEST_WAIT: Mapping[str, float] = {UNAVAILABLE: 5.0, FAILED: 60.0}
"""Seconds between runs of a key whose runs keep failing, at most; by the run's outcome."""

FIRST_WAIT: Mapping[str, float] = {UNAVAILABLE: 0.1, FAILED: 1.0}


class EventTask:
    """An event on its way."""

    __slots__ = ("answer", "event", "identity", "message", "nested")

    def __init__(self, identity: int, event: Event, nested: bool) -> None:
        self.identity = identity
        self.event = event
        self.nested = nested
        self.message = encode(EVENT, identity, event.key, event.name, event.payload, event.context)
        self.answer: Deferred[Any] = Deferred()


class KeyTask:
    """A key that is not settled."""

    __slots__ = ("failures", "key", "running", "timer", "woken")

    nested = False

    def __init__(self, key: str) -> None:
        self.key = key
        self.running = 0
        self.woken = False
        self.failures = 0
        self.timer: IDelayedCall | None = None


Task = EventTask | KeyTask


@dataclass(frozen=True)
class Limits:
    """How much a worker runs at once.

    :ivar events: events under way.
    :ivar keys: keys running, those of kinds that cannot be suspects not counted.
    :ivar strikes: deaths alone that take an event or key out.
    :ivar backlog: events in hand, of different keys, from which on keys wait for them.
    :ivar quiet: seconds that there must have been fewer for keys to start again.
    :ivar patience: seconds that a key waits for events at most.
    """

    events: int = 200
    keys: int = 200
    strikes: int = STRIKES
    backlog: int = 32
    quiet: float = 0.1
    patience: float = 1.0


class EventQueue:
    """Events that have not begun; of one key only the first is offered, until it has ended."""

    def __init__(self) -> None:
        self._offered: deque[EventTask] = deque()
        self._of_key: dict[str, deque[EventTask]] = {}

    def __bool__(self) -> bool:
        return bool(self._offered)

    def __len__(self) -> int:
        """How many wait, those behind another of their key too."""
        return len(self._offered) + sum(len(line) - 1 for line in self._of_key.values())

    @property
    def offered(self) -> int:
        """How many may begin."""
        return len(self._offered)

    @property
    def first(self) -> EventTask:
        """The next one to begin."""
        return self._offered[0]

    def push(self, task: EventTask) -> None:
        """Queue *task*; a nested one before all others, with those of its key that it must wait for."""
        key = task.event.key
        if key is not None:
            line = self._of_key.setdefault(key, deque())
            line.append(task)
            if len(line) > 1:
                if task.nested:
                    self._hurry(line)
                return
        self._offer(task)

    def _offer(self, task: EventTask) -> None:
        if task.nested:
            self._offered.appendleft(task)
        else:
            self._offered.append(task)

    def _hurry(self, line: deque[EventTask]) -> None:
        # Whoever runs waits for the last of the line: all of it runs on its behalf now,
        # or neither the limit nor a quarantine would ever let the two meet.
        for each in line:
            each.nested = True
        if line[0] in self._offered:
            self._offered.remove(line[0])
            self._offered.appendleft(line[0])

    def pop(self) -> EventTask:
        """Take the next one."""
        return self._offered.popleft()

    def pop_nested(self) -> list[EventTask]:
        """Take all that run on behalf of another."""
        nested = [task for task in self._offered if task.nested]
        if nested:
            self._offered = deque(task for task in self._offered if not task.nested)
        return nested

    def ended(self, task: EventTask) -> None:
        """Offer the next of the key of *task*, which has ended."""
        key = task.event.key
        if key is None:
            return
        line = self._of_key[key]
        line.popleft()
        if line:
            self._offer(line[0])
        else:
            del self._of_key[key]
