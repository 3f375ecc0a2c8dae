"""A broker in memory behind the narrow AMQP interface: exchanges, queues, mandatory, confirms.

Everything happens at once; a test breaks sessions and channels off when it likes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet import defer
from zope.interface import implementer

from nfp.rpc.amqp import frames
from nfp.rpc.amqp.errors import ChannelClosed, ConnectionLost, NotRouted
from nfp.rpc.amqp.interfaces import Delivery, GivenBack, IChannel, ISession
from nfp.rpc.options import RpcOptions

EMPTY_HEADER = b"\0" * 12 + b"\0\0"


class MemoryBroker:
    """Exchanges and queues.

    :ivar declared: every declaration as it was asked, in order.
    :ivar confirming: whether publishes are confirmed at once; else they wait.
    :ivar rejected: bodies that were refused.
    """

    def __init__(self) -> None:
        self.exchanges: dict[str, tuple[str, bool, bool]] = {}
        self.queues: dict[str, deque[tuple[bytes, bytes, str, str, bool]]] = {}
        self.flags: dict[str, tuple[bool, Mapping[str, object]]] = {}
        self.bindings: list[tuple[str, str, str]] = []
        self.consumers: dict[str, tuple[MemoryChannel, Callable[[Delivery], None], Any]] = {}
        self.declared: list[tuple[object, ...]] = []
        self.confirming = True
        self.rejected: list[bytes] = []
        self.published: list[tuple[str, str, bytes, bytes]] = []

    def route(self, exchange: str, key: str) -> list[str]:
        """The queues that a message goes to."""
        if not exchange:
            return [key] if key in self.queues else []
        kind = self.exchanges[exchange][0]
        return [
            queue
            for queue, source, wanted in self.bindings
            if source == exchange and queue in self.queues and (kind == "fanout" or wanted == key)
        ]

    def put(self, exchange: str, key: str, body: bytes, properties: bytes) -> bool:
        """Take a message; tells whether any queue wanted it."""
        self.published.append((exchange, key, body, properties))
        found = self.route(exchange, key)
        for queue in found:
            self.queues[queue].append((body, properties, exchange, key, False))
            self.pump(queue)
        return bool(found)

    def pump(self, queue: str) -> None:
        """Give a queue's messages to its consumer."""
        while queue in self.consumers and self.queues[queue]:
            channel, deliver, _ = self.consumers[queue]
            if len(channel.unacknowledged) >= channel.window:
                return
            message = self.queues[queue].popleft()
            channel.last += 1
            channel.unacknowledged[channel.last] = (queue, message)
            body, properties, exchange, key, again = message
            deliver(Delivery(channel.last, again, exchange, key, b"\0" * 12 + properties, body))

    def messages(self, queue: str) -> list[bytes]:
        """Bodies that wait in a queue."""
        return [message[0] for message in self.queues[queue]]


@implementer(IChannel)
class MemoryChannel:
    """A channel of :class:`MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.window = 1 << 30
        self.last = 0
        self.unacknowledged: dict[int, Any] = {}
        self.reason: Exception | None = None
        self.callbacks: list[Callable[[Exception], None]] = []
        self.given_back: Callable[[GivenBack], None] | None = None
        self.unconfirmed: list[defer.Deferred[None]] = []

    def end(self, why: Exception) -> None:
        """The channel ends; what was not acknowledged goes back."""
        if self.reason is not None:
            return
        self.reason = why
        for queue in [queue for queue, one in self.broker.consumers.items() if one[0] is self]:
            del self.broker.consumers[queue]
        for queue, message in reversed(self.unacknowledged.values()):
            if queue in self.broker.queues:
                self.broker.queues[queue].appendleft((*message[:4], True))
        self.unacknowledged.clear()
        unconfirmed, self.unconfirmed = self.unconfirmed, []
        for one in unconfirmed:
            one.errback(why)
        for callback in self.callbacks:
            callback(why)

    def when_closed(self, callback: Callable[[Exception], None]) -> None:
        if self.reason is not None:
            callback(self.reason)
        else:
            self.callbacks.append(callback)

    def check(self) -> None:
        """Raise if it has ended."""
        if self.reason is not None:
            raise self.reason

    def refuse(self, status: int, text: str) -> Exception:
        """End as a broker does after an error."""
        self.end(ChannelClosed(f"{status} {text}", status=status))
        assert self.reason is not None
        return self.reason

    async def declare_exchange(
        self, name: str, kind: str, *, durable: bool, auto_delete: bool = False
    ) -> None:
        self.check()
        self.broker.declared.append(("exchange", name, kind, durable, auto_delete))
        if self.broker.exchanges.setdefault(name, (kind, durable, auto_delete)) != (
            kind,
            durable,
            auto_delete,
        ):
            raise self.refuse(406, "PRECONDITION_FAILED")

    async def declare_queue(
        self,
        name: str,
        *,
        durable: bool,
        arguments: Mapping[str, object] | None = None,
        passive: bool = False,
    ) -> int:
        self.check()
        flags = (durable, dict(arguments or {}))
        self.broker.declared.append(("queue", name, *flags))
        if self.broker.flags.setdefault(name, flags) != flags:
            raise self.refuse(406, "PRECONDITION_FAILED")
        return len(self.broker.queues.setdefault(name, deque()))

    async def bind_queue(self, queue: str, exchange: str, key: str) -> None:
        self.check()
        if (queue, exchange, key) not in self.broker.bindings:
            self.broker.bindings.append((queue, exchange, key))

    async def delete_queue(self, queue: str) -> None:
        self.check()
        self.broker.queues.pop(queue, None)
        self.broker.flags.pop(queue, None)

    async def prefetch(self, count: int) -> None:
        self.window = count

    async def consume(
        self, queue: str, on_delivery: Callable[[Delivery], None], on_cancelled: Any = None
    ) -> str:
        self.check()
        self.broker.consumers[queue] = (self, on_delivery, on_cancelled)
        self.broker.pump(queue)
        return queue

    async def cancel(self, consumer: str) -> None:
        self.check()
        self.broker.consumers.pop(consumer, None)

    def ack(self, tag: int) -> None:
        if self.reason is None:
            queue, _ = self.unacknowledged.pop(tag)
            self.broker.pump(queue)

    def reject(self, tag: int) -> None:
        if self.reason is None:
            queue, message = self.unacknowledged.pop(tag)
            self.broker.rejected.append(message[0])
            self.broker.pump(queue)

    def publish(
        self, exchange: str, key: str, body: bytes, properties: bytes, *, mandatory: bool = False
    ) -> None:
        self.check()
        if not self.broker.put(exchange, key, body, properties) and mandatory and self.given_back:
            self.given_back(GivenBack(312, "NO_ROUTE", exchange, key, body))

    def on_given_back(self, callback: Callable[[GivenBack], None]) -> None:
        self.given_back = callback

    async def confirm_mode(self) -> None:
        self.check()

    def publish_confirmed(
        self, exchange: str, key: str, body: bytes, properties: bytes
    ) -> defer.Deferred[None]:
        if self.reason is not None:
            return defer.fail(self.reason)
        if not self.broker.put(exchange, key, body, properties):
            return defer.fail(NotRouted("no queue"))
        if self.broker.confirming:
            return defer.succeed(None)
        waiting: defer.Deferred[None] = defer.Deferred()
        self.unconfirmed.append(waiting)
        return waiting

    async def close(self) -> None:
        self.check()
        self.end(ConnectionLost("the channel was closed"))


@implementer(ISession)
class MemorySession:
    """A session of :class:`MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.channels: list[MemoryChannel] = []
        self.lost: Exception | None = None

    async def open_channel(self) -> MemoryChannel:
        if self.lost is not None:
            raise self.lost
        channel = MemoryChannel(self.broker)
        self.channels.append(channel)
        return channel

    def when_lost(self, callback: Callable[[Exception], None]) -> None:
        raise NotImplementedError

    async def close(self, timeout: float) -> None:
        raise NotImplementedError


class MemoryConnection:
    """Stands in for :class:`nfp.rpc.connection.RpcConnection`, without a reactor."""

    def __init__(self, clock: Any, broker: MemoryBroker, options: RpcOptions | None = None) -> None:
        self.clock = clock
        self.broker = broker
        self.options = options or RpcOptions()
        self.session: MemorySession | None = None
        self.attached: list[Any] = []

    def attach(self, user: Any) -> None:
        """As the real one."""
        self.attached.append(user)
        if self.session is not None:
            user.session_up(self.session)

    def detach(self, user: Any) -> None:
        """As the real one."""
        if user in self.attached:
            self.attached.remove(user)

    def up(self) -> MemorySession:
        """Connect."""
        self.session = MemorySession(self.broker)
        for user in list(self.attached):
            user.session_up(self.session)
        return self.session

    def down(self) -> None:
        """Lose the connection."""
        session, self.session = self.session, None
        assert session is not None
        why = session.lost = ConnectionLost("gone")
        for user in list(self.attached):
            user.session_down(why)
        for channel in session.channels:
            channel.end(why)


def properties_of(raw: bytes) -> dict[str, object]:
    """Message properties as they were published."""
    return frames.read_properties(b"\0" * 12 + raw)
