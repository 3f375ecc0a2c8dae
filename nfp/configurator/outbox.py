"""What is to be told to the manager, kept until it says that it has it (invariant I6).

Sequences grow by one for each notification and begin anew at each start, which is why whoever
acknowledges names the boot that it means.  Results are never dropped: :attr:`Outbox.results` lets
the listener refuse new requests first.  Health reports are, oldest first; a gap in the sequences
is all that is seen of it.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nfp.model.requests import HEALTH_STATUS_NOTIFICATION

MOST_NOTIFICATIONS = 256
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Batch:
    """What one poll gets.

    :ivar notifications: each as JSON text, in order of sequence.
    :ivar next: what to acknowledge once they are stored.
    """

    boot_id: str
    notifications: tuple[str, ...]
    next: int

    def to_json(self) -> bytes:
        """Write the body of the answer."""
        return (
            f'{{"boot_id": {json.dumps(self.boot_id)}, '
            f'"notifications": [{", ".join(self.notifications)}], "next": {self.next}}}'
        ).encode("ascii")


@dataclass(frozen=True)
class _Entry:
    text: str
    health: bool


class Outbox:
    """Notifications in order, each until it is acknowledged.

    :param clock: times the waiting of pollers.
    :param boot_id: names this start of the configurator.
    :param limit: how many health reports are kept at most.
    """

    def __init__(self, clock: IReactorTime, boot_id: str, limit: int) -> None:
        self.boot_id = boot_id
        self._clock = clock
        self._limit = limit
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._health: deque[int] = deque()
        self._last = 0
        self._given = 0
        self._pollers: set[Deferred[None]] = set()
        self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def results(self) -> int:
        """How many results wait to be acknowledged."""
        return len(self._entries) - len(self._health)

    @property
    def pollers(self) -> int:
        """How many polls wait for news."""
        return len(self._pollers)

    def append(self, notification: Mapping[str, object]) -> int:
        """Keep *notification* and wake whoever waits for one.

        :return: its sequence.
        """
        self._last += 1
        health = notification["kind"] == HEALTH_STATUS_NOTIFICATION
        self._entries[self._last] = _Entry(json.dumps({"sequence": self._last, **notification}), health)
        if health:
            self._health.append(self._last)
            if len(self._health) > self._limit:
                del self._entries[self._health.popleft()]
                self.dropped += 1
        self._wake()
        return self._last

    def acknowledge(self, sequence: int) -> None:
        """Let go of everything up to *sequence*; what nobody was given yet stays."""
        sequence = min(sequence, self._given)
        while self._entries and (first := next(iter(self._entries))) <= sequence:
            if self._entries.pop(first).health:
                self._health.popleft()

    def batch(self, after: int = 0) -> Batch:
        """Give what is kept beyond *after*: at most 256 notifications or 1 MiB, but one if there is one."""
        texts: list[str] = []
        size, last = 0, after
        for sequence, entry in self._entries.items():
            if sequence <= after:
                continue
            size += len(entry.text) + 2
            if len(texts) == MOST_NOTIFICATIONS or (texts and size > MOST_BYTES):
                break
            texts.append(entry.text)
            last = sequence
        self._given = max(self._given, last if texts else 0)
        return Batch(self.boot_id, tuple(texts), last)

    async def poll(self, boot: str | None, after: int, wait: float) -> Batch:
        """Answer one poll.

        :param boot: the boot that *after* is about; any other than ours acknowledges nothing and
            gets everything that is kept, at once.
        :param after: the highest sequence that the caller has stored.
        :param wait: seconds to wait for news when there are none.
        """
        if boot != self.boot_id:
            return self.batch()
        after = min(after, self._given)
        self.acknowledge(after)
        batch = self.batch(after)
        if not batch.notifications and wait > 0 and not self._closed:
            await self._news(wait)
            batch = self.batch(after)
        return batch

    def close(self) -> None:
        """Send every poller home; nobody waits from now on."""
        self._closed = True
        self._wake()

    async def _news(self, wait: float) -> None:
        news: Deferred[None] = Deferred()
        self._pollers.add(news)
        _ = news.addTimeout(wait, self._clock)
        try:
            await news
        except defer.TimeoutError:
            pass
        finally:
            self._pollers.discard(news)

    def _wake(self) -> None:
        pollers, self._pollers = self._pollers, set()
        for poller in pollers:
            poller.callback(None)
