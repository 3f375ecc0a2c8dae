"""Calls, casts and fanouts to topics, as oslo.messaging's clients send them."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from nfp.daemon import journal
from nfp.rpc import envelope
from nfp.rpc.amqp.errors import BrokerError, NotRouted, NotTaken
from nfp.rpc.amqp.interfaces import Delivery, IChannel, ISession
from nfp.rpc.attachment import Attachment
from nfp.rpc.connection import RpcConnection
from nfp.rpc.envelope import AnswerTo, Malformed
from nfp.rpc.errors import RpcTimeout, Unroutable
from nfp.rpc.topology import Topology, fanout_exchange

CAST_TIMEOUT = 60.0

GRACE = 10.0
"""Seconds after a reconnection in which a topic may have no queue yet: a broker that restarted has
forgotten the bindings of a transient exchange, and the servers are on their way back as we are."""
AGAIN = 0.5


class _Message:
    """One message until it has ended.

    :ivar sent: whether it was ever given to the broker, and not given back.
    :ivar again: the next attempt, where there is to be one.
    :ivar ended: fires with a call's result, or when the broker has a cast.
    """

    __slots__ = ("again", "body", "deadline", "ended", "is_call", "key", "sent")

    def __init__(self, key: str, body: bytes, deadline: float, is_call: bool) -> None:
        self.key = key
        self.body = body
        self.deadline = deadline
        self.is_call = is_call
        self.sent = False
        self.again: IDelayedCall | None = None
        self.ended: defer.Deferred[object] = defer.Deferred()


class RpcClient:
    """Sends to the topics of one exchange; usable at once, whether connected yet or not.

    A call is sent at most once: if the connection ends before its reply, it waits for the reply,
    which finds the reply queue again after the reconnection, until its time is up.  A cast is sent
    at least once: one that the broker had not confirmed is sent again, with the same
    ``_unique_id``, by which its server recognises it.

    :param exchange: ``None``: the connection's control exchange.
    """

    log = Logger()

    def __init__(self, connection: RpcConnection, exchange: str | None = None) -> None:
        self._connection = connection
        self._clock = connection.clock
        self._exchange = exchange or connection.options.exchange
        self._reply_queue = f"reply_{uuid4().hex}"
        self._calls: dict[str, _Message] = {}
        self._open: dict[_Message, None] = {}
        self._was_up = False
        self._grace_ends = 0.0
        self._attachment = Attachment(connection, "client", self._set_up)
        self._attachment.start()

    def when_ready(self) -> defer.Deferred[None]:
        """Fires when messages can leave."""
        return self._attachment.when_ready()

    async def close(self) -> None:
        """Send and receive nothing more; what has not ended fails."""
        channel = self._attachment.channel
        if channel is not None:
            try:
                await channel.delete_queue(self._reply_queue)
            except BrokerError as error:
                self.log.debug("closing without the broker: {reason}", reason=str(error))
        await self._attachment.stop()
        for message in list(self._open):
            _fail(message, BrokerError("the client was closed"))

    async def call(
        self,
        topic: str,
        method: str,
        args: Mapping[str, object],
        *,
        server: str | None = None,
        timeout: float = 60.0,
        context: Mapping[str, object] | None = None,
        version: str = "1.0",
    ) -> object:
        """Call a method and give its result.

        :param server: one server of the topic; ``None``: whichever takes it.
        :param timeout: seconds; after them the broker drops the call if nobody has taken it.
        :param context: request context; ``request_id`` is added from the running request.
        :raises nfp.model.errors.NfpError: what the other side raised, by its code.
        :raises RemoteError: what it raised, if that is not of our family.
        :raises RpcTimeout: no answer in time.
        :raises Unroutable: nobody has declared the topic; right after a reconnection that is said
            only after some seconds.
        """
        msg_id = uuid4().hex
        answer_to = AnswerTo(msg_id, self._reply_queue, None)
        body = envelope.write_request(
            method, args, context=_context(context), version=version, answer_to=answer_to
        )
        message = _Message(_key(topic, server), body, self._clock.seconds() + timeout, True)
        self._calls[msg_id] = message
        try:
            return await self._until_ended(message, timeout, method)
        finally:
            del self._calls[msg_id]

    async def cast(
        self,
        topic: str,
        method: str,
        args: Mapping[str, object],
        *,
        server: str | None = None,
        timeout: float = CAST_TIMEOUT,
        context: Mapping[str, object] | None = None,
        version: str = "1.0",
    ) -> None:
        """Send a message; returns when the broker has it.

        :param timeout: seconds to wait for the broker.
        :raises RpcTimeout: the broker did not take it in time; it may have it nonetheless.
        :raises Unroutable: nobody has declared the topic.
        """
        body = envelope.write_request(method, args, context=_context(context), version=version)
        message = _Message(_key(topic, server), body, self._clock.seconds() + timeout, False)
        await self._until_ended(message, timeout, method)

    async def fanout(
        self,
        topic: str,
        method: str,
        args: Mapping[str, object],
        *,
        context: Mapping[str, object] | None = None,
        version: str = "1.0",
    ) -> None:
        """Send a message to every server of a topic that listens now; there may be none.

        :raises BrokerError: there is no connection now.
        """
        body = envelope.write_request(method, args, context=_context(context), version=version)
        session = self._connection.session
        channel = self._attachment.channel
        if session is None or channel is None:
            raise BrokerError("there is no connection to the broker")
        exchange = fanout_exchange(topic)
        topology = Topology(session)
        durable = self._connection.options.transient_quorum
        await topology.exchange(exchange, "fanout", durable=durable, auto_delete=True)
        await topology.close()
        channel.publish(exchange, "", body, envelope.PROPERTIES)

    async def _until_ended(self, message: _Message, timeout: float, method: str) -> object:
        self._open[message] = None
        channel = self._attachment.channel
        if channel is not None:
            self._send(channel, message)
        try:
            return await message.ended.addTimeout(timeout, self._clock)
        except defer.TimeoutError:
            raise RpcTimeout(f"{method} to {message.key}: no answer within {timeout:g} s") from None
        finally:
            del self._open[message]
            if message.again is not None:
                message.again.cancel()

    def _send(self, channel: IChannel, message: _Message) -> None:
        properties = envelope.PROPERTIES
        if message.is_call:
            properties = envelope.call_properties(int((message.deadline - self._clock.seconds()) * 1000))
        message.sent = True
        confirmed = channel.publish_confirmed(self._exchange, message.key, message.body, properties)
        _ = confirmed.addCallbacks(
            _confirmed, self._not_confirmed, callbackArgs=(message,), errbackArgs=(message,)
        )

    def _not_confirmed(self, failure: Failure, message: _Message) -> None:
        error = failure.value
        assert error is not None
        if isinstance(error, NotRouted):
            self._not_routed(message)
        elif isinstance(error, NotTaken) or not isinstance(error, BrokerError):
            _fail(message, error)
        # Else the channel ended: a cast goes again with the next one, a call waits for its reply.

    def _not_routed(self, message: _Message) -> None:
        if self._clock.seconds() >= self._grace_ends or message.ended.called:
            _fail(message, Unroutable(f"nobody serves {message.key}"))
            return
        message.sent = False
        message.again = self._clock.callLater(AGAIN, self._send_again, message)

    def _send_again(self, message: _Message) -> None:
        message.again = None
        channel = self._attachment.channel
        if channel is not None and not message.sent:
            self._send(channel, message)

    async def _set_up(self, session: ISession, channel: IChannel) -> None:
        options = self._connection.options
        topology = Topology(session)
        await topology.exchange(self._exchange, "topic", durable=options.durable_exchange)
        await topology.transient(self._reply_queue, quorum=options.transient_quorum)
        await topology.close()

        def replied(delivery: Delivery) -> None:
            self._replied(channel, delivery)

        await channel.consume(self._reply_queue, replied, self._attachment.renew)
        await channel.confirm_mode()
        if self._was_up:
            self._grace_ends = self._clock.seconds() + GRACE
        self._was_up = True
        for message in list(self._open):
            if message.again is None and not (message.is_call and message.sent):
                self._send(channel, message)

    def _replied(self, channel: IChannel, delivery: Delivery) -> None:
        try:
            reply = envelope.read_reply(delivery.body)
        except Malformed as error:
            self.log.warn("refused a reply: {reason}", reason=str(error))
            channel.reject(delivery.tag)
            return
        channel.ack(delivery.tag)
        message = self._calls.get(reply.msg_id)
        if message is None or not reply.ending:
            return
        if reply.failure is not None:
            _fail(message, envelope.error_from(reply.failure))
        elif not message.ended.called:
            message.ended.callback(reply.result)


def _confirmed(_: None, message: _Message) -> None:
    if not message.is_call and not message.ended.called:
        message.ended.callback(None)


def _fail(message: _Message, error: BaseException) -> None:
    if not message.ended.called:
        message.ended.errback(error)


def _key(topic: str, server: str | None) -> str:
    return topic if server is None else f"{topic}.{server}"


def _context(context: Mapping[str, object] | None) -> Mapping[str, object]:
    request_id = journal.request_id.get()
    if context is None:
        return {} if request_id is None else {"request_id": request_id}
    if request_id is None or "request_id" in context:
        return context
    return {**context, "request_id": request_id}
