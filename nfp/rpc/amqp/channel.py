"""txAMQP's channel, corrected: it fails its callers instead of hanging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from txamqp.client import Closed
from txamqp.message import Message
from txamqp.protocol import AMQChannel
from txamqp.queue import Closed as QueueClosed

from nfp.rpc.amqp import frames
from nfp.rpc.amqp.errors import BrokerError, ChannelClosed, ConnectionLost, NotRouted
from nfp.rpc.amqp.interfaces import Delivery, GivenBack

if TYPE_CHECKING:
    from nfp.rpc.amqp.protocol import Client


def explain(reason: object) -> BrokerError:
    """Turn whatever txAMQP gives as the end of a channel or connection into our own error."""
    if isinstance(reason, BrokerError):
        return reason
    if isinstance(reason, Failure):
        return explain(reason.value)
    if isinstance(reason, Closed) and reason.args:
        return explain(reason.args[0])
    if isinstance(reason, Message):
        text = f"{reason.reply_code} {reason.reply_text}"
        if reason.method.klass.name == "channel":
            return ChannelClosed(text, status=reason.reply_code)
        return ConnectionLost(text)
    if isinstance(reason, ConnectionDone) or reason is None:
        return ConnectionLost("the connection was closed")
    return ConnectionLost(str(reason) or type(reason).__name__)


class Content:
    """A method with content, while its header and body come in."""

    __slots__ = ("chunks", "header", "method", "missing")

    def __init__(self, method: bytes) -> None:
        self.method = method
        self.header = b""
        self.missing = 0
        self.chunks: list[bytes] = []


class Unconfirmed:
    """A publish that the broker has not confirmed yet."""

    __slots__ = ("body", "deferred", "given_back")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.deferred: defer.Deferred[None] = defer.Deferred()
        self.given_back: NotRouted | None = None


class Channel(AMQChannel):  # type: ignore[misc]  # txamqp has no types
    """A channel that fails its callers instead of hanging.

    Corrected: encoding happens in the caller; ``no_wait`` is honoured however the specification
    spells it; a close reaches consumers and unconfirmed publishes, and the number may be used again.
    """

    def __init__(self, number: int, outgoing: object, client: Client) -> None:
        super().__init__(number, outgoing, client)
        self.content: Content | None = None
        self.consumers: dict[str, tuple[Callable[[Delivery], None], Callable[[], None] | None]] = {}
        self.unconfirmed: dict[int, Unconfirmed] = {}
        self.published = 0
        self.given_back: Callable[[GivenBack], None] | None = None
        self._on_close: list[Callable[[Exception], None]] = []

    def invoke(self, method: Any, args: Sequence[object], content: Any = None) -> defer.Deferred[Any]:
        """Send a method; fires with its answer, at once where there is none."""
        if self.closed:
            return defer.fail(explain(self.reason))
        try:
            data = frames.method(self.id, method, args)
        except Exception:  # noqa: BLE001  whatever the codec raises belongs to the caller
            return defer.fail()
        self.client.send(data)
        if not method.responses or _no_wait(method, args):
            return defer.succeed(None)
        answer: defer.Deferred[Any] = self.responses.get()
        return answer.addCallbacks(self._answered, self._unanswered, callbackArgs=(method,))

    @staticmethod
    def _answered(message: Message, method: Any) -> Message:
        if message.method not in method.responses:
            raise BrokerError(f"{message.method.name} is no answer to {method.name}")
        return message

    def _unanswered(self, failure: Failure) -> None:
        failure.trap(QueueClosed)
        raise explain(self.reason)

    def publish_confirmed(
        self, exchange: str, key: str, body: bytes, properties: bytes
    ) -> defer.Deferred[None]:
        """See :class:`~nfp.rpc.amqp.interfaces.IChannel`."""
        if self.closed:
            return defer.fail(explain(self.reason))
        try:
            data = frames.publish(
                self.id, exchange, key, body, properties, mandatory=True, frame_max=self.client.MAX_LENGTH
            )
        except ValueError:
            return defer.fail()
        self.client.send(data)
        self.published += 1
        waiting = self.unconfirmed[self.published] = Unconfirmed(body)
        return waiting.deferred

    def settled(self, tag: int, multiple: bool, error: Exception | None = None) -> None:
        """The broker confirmed or refused publishes."""
        tags = [one for one in self.unconfirmed if one <= tag or not tag] if multiple else [tag]
        for one in tags:
            waiting = self.unconfirmed.pop(one, None)
            if waiting is None or waiting.deferred.called:
                continue
            why = error or waiting.given_back
            if why is None:
                waiting.deferred.callback(None)
            else:
                waiting.deferred.errback(why)

    def returned(self, message: Message, body: bytes) -> None:
        """A mandatory message came back; of a confirmed publish the confirmation follows."""
        for waiting in self.unconfirmed.values():
            if waiting.body == body:
                waiting.given_back = NotRouted(f"no queue takes {message.routing_key!r}")
                return
        if self.given_back is not None:
            self.given_back(
                GivenBack(message.reply_code, message.reply_text, message.exchange, message.routing_key, body)
            )

    def when_closed(self, callback: Callable[[Exception], None]) -> None:
        """See :class:`~nfp.rpc.amqp.interfaces.IChannel`."""
        if self.closed:
            callback(explain(self.reason))
        else:
            self._on_close.append(callback)

    def do_close(self, reason: object) -> None:
        """The channel has ended: tell everybody who waits on it, and forget it."""
        if self.closed:
            return
        super().do_close(reason)
        self.client.channels.pop(self.id, None)
        self.consumers.clear()
        why = explain(reason)
        unconfirmed, self.unconfirmed = self.unconfirmed, {}
        callbacks, self._on_close = self._on_close, []
        for waiting in unconfirmed.values():
            if not waiting.deferred.called:
                waiting.deferred.errback(why)
        for callback in callbacks:
            callback(why)


def _no_wait(method: Any, args: Sequence[object]) -> bool:
    for position, field in enumerate(method.fields):
        if field.name in ("no-wait", "nowait"):
            return bool(args[position])
    return False
