"""The narrow interface between RPC and AMQP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from zope.interface import Interface

from nfp.rpc.amqp import frames


class Delivery:
    """A message that came.

    :ivar tag: what it is acknowledged by, on the channel that it came on.
    :ivar redelivered: the broker gave it to somebody before.
    """

    __slots__ = ("_header", "body", "exchange", "redelivered", "routing_key", "tag")

    def __init__(
        self, tag: int, redelivered: bool, exchange: str, routing_key: str, header: bytes, body: bytes
    ) -> None:
        self.tag = tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self._header = header

    @property
    def properties(self) -> Mapping[str, object]:
        """Properties by AMQP's names; read only now, so that a broken header spoils nothing else.

        :raises Exception: they cannot be read.
        """
        return frames.read_properties(self._header)


@dataclass(frozen=True)
class GivenBack:
    """A mandatory message that matched no queue."""

    status: int
    text: str
    exchange: str
    routing_key: str
    body: bytes


class IChannel(Interface):
    """A channel of a logged-in connection.  What is asked of a closed one raises
    :class:`~nfp.rpc.amqp.errors.BrokerError`, but settling there does nothing."""

    def when_closed(callback: Callable[[Exception], None]) -> None:
        """Have *callback* called once when the channel ends, with why; at once if it has."""

    def declare_exchange(
        name: str, kind: str, *, durable: bool, auto_delete: bool = False
    ) -> Awaitable[None]:
        """Make sure an exchange is there.

        :raises ChannelClosed: status 406: it is there with other flags.
        """

    def declare_queue(
        name: str, *, durable: bool, arguments: Mapping[str, object] | None = None, passive: bool = False
    ) -> Awaitable[int]:
        """Make sure a queue is there; gives how many messages are in it.

        :param passive: only look.
        :raises ChannelClosed: status 406: it is there with other flags; 404: *passive* and it is not.
        """

    def bind_queue(queue: str, exchange: str, key: str) -> Awaitable[None]:
        """Bind a queue to an exchange."""

    def delete_queue(queue: str) -> Awaitable[None]:
        """Remove a queue with what is in it."""

    def prefetch(count: int) -> Awaitable[None]:
        """Let at most *count* messages be unacknowledged at a time."""

    def consume(
        queue: str,
        on_delivery: Callable[[Delivery], None],
        on_cancelled: Callable[[], None] | None = None,
    ) -> Awaitable[str]:
        """Have messages of *queue* delivered; gives the consumer's tag.

        :param on_delivery: what it raises is logged, and stops nothing.
        :param on_cancelled: called when the broker ends the consumer, because the queue is gone.
        """

    def cancel(consumer: str) -> Awaitable[None]:
        """End a consumer; when it returns nothing more is delivered to it."""

    def ack(tag: int) -> None:
        """Tell that a message was dealt with."""

    def reject(tag: int) -> None:
        """Refuse a message for good: the broker drops or dead-letters it."""

    def publish(exchange: str, key: str, body: bytes, properties: bytes, *, mandatory: bool = False) -> None:
        """Send a message, without knowing more.

        :param properties: what :func:`nfp.rpc.amqp.frames.write_properties` gave.
        """

    def on_given_back(callback: Callable[[GivenBack], None]) -> None:
        """Have *callback* called for each mandatory message of :meth:`publish` that comes back."""

    def confirm_mode() -> Awaitable[None]:
        """From now on the broker confirms; required before :meth:`publish_confirmed`."""

    def publish_confirmed(exchange: str, key: str, body: bytes, properties: bytes) -> Deferred[None]:
        """Send a mandatory message; fires when the broker has it.  The body must be unique.

        :raises NotRouted: no queue matched.
        :raises NotTaken: the broker refused it.
        :raises BrokerError: the channel ended first; whether the broker has it is not known.
        """

    def close() -> Awaitable[None]:
        """Close it; unacknowledged messages go back to their queues."""


class ISession(Interface):
    """A logged-in connection."""

    def open_channel() -> Awaitable[IChannel]:
        """Open a new channel."""

    def when_lost(callback: Callable[[Exception], None]) -> None:
        """Have *callback* called once when the connection ends, with why; at once if it has."""

    def close(timeout: float) -> Awaitable[None]:
        """Say goodbye and close; after *timeout* seconds of no answer, break it off."""
