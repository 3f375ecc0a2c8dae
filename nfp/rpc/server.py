"""Serves a topic as oslo.messaging's servers do, but acknowledges after the work, not before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from nfp.daemon import journal
from nfp.daemon.inflight import InFlight
from nfp.model.errors import NfpError
from nfp.rpc import envelope
from nfp.rpc.amqp.errors import BrokerError
from nfp.rpc.amqp.interfaces import Delivery, IChannel, ISession
from nfp.rpc.attachment import Attachment
from nfp.rpc.connection import RpcConnection
from nfp.rpc.envelope import AnswerTo, Malformed, Request
from nfp.rpc.errors import UnsupportedVersion
from nfp.rpc.replies import Replies
from nfp.rpc.topology import QUORUM, Topology, fanout_exchange

Dispatch = Callable[[Request], Awaitable[object]]


class RpcServer(Service):
    """Consumes ``topic``, ``topic.host`` and the topic's fanout.

    A message is acknowledged, and a call answered, when what *dispatch* gave has fired.  What it
    raises is the caller's answer; a method that it does not have is
    :class:`~nfp.rpc.errors.NoSuchMethod`, raised by *dispatch*.  Cancelled work stays
    unacknowledged and comes again.  A message that is no request is rejected for good, with a log
    line, and with an answer where it says who waits.  The same request may come twice:
    ``Request.unique_id`` tells.

    :param topic: what is served.
    :param host: this server's name in ``topic.host``.
    :param durable: whether the two topic queues outlive the broker.
    :param prefetch: how many messages of each queue may be unacknowledged at a time.
    :param version: what is spoken; the same major and a minor not above it are taken.
    :param namespace: what is spoken; others are refused.
    :param patience: seconds that work in hand has when the service stops.
    """

    log = Logger()

    def __init__(
        self,
        connection: RpcConnection,
        topic: str,
        host: str,
        dispatch: Dispatch,
        *,
        durable: bool,
        prefetch: int,
        version: str = "1.0",
        namespace: str | None = None,
        patience: float = 30.0,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._host = host
        self._dispatch = dispatch
        self._durable = durable
        self._prefetch = prefetch
        self._version = _parsed(version)
        self._namespace = namespace
        self._patience = patience
        self._fanout_queue = f"{fanout_exchange(topic)}_{uuid4().hex}"
        self._consumers: list[str] = []
        self._in_flight = InFlight(self.log)
        self._attachment = Attachment(connection, f"server of {topic}", self._set_up, self._torn_down)
        self._replies = Replies(connection.clock, lambda: self._attachment.channel)

    @property
    def in_flight(self) -> int:
        """How many messages are being worked on."""
        return len(self._in_flight)

    def when_ready(self) -> defer.Deferred[None]:
        """Fires when messages are being consumed."""
        return self._attachment.when_ready()

    def startService(self) -> None:
        """Declare and consume, as soon as and whenever there is a connection."""
        super().startService()  # type: ignore[no-untyped-call]
        self._attachment.start()

    def stopService(self) -> defer.Deferred[None]:
        """Take no more, finish what is in hand; what is unfinished in time stays unacknowledged."""
        super().stopService()  # type: ignore[no-untyped-call]
        return defer.Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        channel = self._attachment.channel
        if channel is not None:
            try:
                for consumer in self._consumers:
                    await channel.cancel(consumer)
                await channel.delete_queue(self._fanout_queue)
            except BrokerError as error:
                self.log.debug("stopping without the broker: {reason}", reason=str(error))
        await self._in_flight.drain(self._connection.clock, self._patience)
        self._replies.stop()
        await self._attachment.stop()

    async def _set_up(self, session: ISession, channel: IChannel) -> None:
        options, topic = self._connection.options, self._topic
        quorum = options.quorum and self._durable
        durable, arguments = self._durable or quorum, QUORUM if quorum else None
        direct, fanout = f"{topic}.{self._host}", fanout_exchange(topic)
        topology = Topology(session)
        await topology.exchange(options.exchange, "topic", durable=options.durable_exchange)
        for queue in (topic, direct):
            await topology.queue(queue, durable=durable, arguments=arguments)
            await topology.bind(queue, options.exchange, queue)
        await topology.exchange(fanout, "fanout", durable=options.transient_quorum, auto_delete=True)
        await topology.transient(self._fanout_queue, quorum=options.transient_quorum)
        await topology.bind(self._fanout_queue, fanout, topic)
        await topology.close()

        channel.on_given_back(self._replies.given_back)
        await channel.prefetch(self._prefetch)

        def delivered(delivery: Delivery) -> None:
            self._delivered(channel, delivery)

        self._consumers = [
            await channel.consume(queue, delivered, self._attachment.renew)
            for queue in (topic, direct, self._fanout_queue)
        ]

    def _torn_down(self, why: Exception) -> None:
        self._consumers = []
        if len(self._in_flight):
            self.log.info("{count} messages in hand will come again", count=len(self._in_flight))

    def _delivered(self, channel: IChannel, delivery: Delivery) -> None:
        try:
            request, answer_to = envelope.read_request(delivery.body)
        except Malformed as error:
            self.log.warn(
                "refused a message of {size} bytes on {queue}: {reason}",
                size=len(delivery.body),
                queue=delivery.routing_key,
                reason=str(error),
            )
            if error.answer_to is not None:
                self._answer(channel, error.answer_to, None, NfpError(str(error)), None)
            channel.reject(delivery.tag)
            return
        _ = self._in_flight.start(request.method, self._serve(channel, delivery.tag, request, answer_to))

    async def _serve(self, channel: IChannel, tag: int, request: Request, answer_to: AnswerTo | None) -> None:
        request_id = request.request_id
        if request_id is not None:
            journal.request_id.set(request_id)
        signs = None
        if answer_to is not None and answer_to.every is not None:
            signs = _SignsOfLife(self._connection.clock, self._replies, channel, answer_to)
        result: object = None
        failure: Exception | None = None
        try:
            self._check(request)
            result = await self._dispatch(request)
        except defer.CancelledError:
            self.log.info("left {method} for another time", method=request.method)
            raise
        except NfpError as error:
            failure = error
            self.log.info(
                "{method} failed: {code}: {reason}",
                method=request.method,
                code=error.code,
                reason=str(error),
                is_call=request.is_call,
            )
        except Exception as error:  # noqa: BLE001  whatever it is, the caller gets an answer
            failure = error
            self.log.failure("{method} failed", method=request.method)
        finally:
            if signs is not None:
                signs.stop()
        if answer_to is not None:
            self._answer(channel, answer_to, result, failure, request_id)
        channel.ack(tag)

    def _check(self, request: Request) -> None:
        major, minor = _parsed(request.version)
        if major != self._version[0] or minor > self._version[1] or request.namespace != self._namespace:
            raise UnsupportedVersion.of(request.version, request.method)

    def _answer(
        self,
        channel: IChannel,
        answer_to: AnswerTo,
        result: object,
        failure: Exception | None,
        request_id: str | None,
    ) -> None:
        told = None if failure is None else envelope.failure_of(failure, request_id)
        try:
            body = envelope.write_reply(answer_to.msg_id, result, told)
        except (TypeError, ValueError, RecursionError):
            self.log.failure("a result cannot be written as JSON")
            told = envelope.failure_of(NfpError("the result cannot be written as JSON"))
            body = envelope.write_reply(answer_to.msg_id, None, told)
        try:
            self._replies.send(channel, answer_to.queue, body)
        except BrokerError:
            # The message was not acknowledged either: it comes again, and is answered then.
            self.log.debug("the channel ended before the answer to {queue}", queue=answer_to.queue)
        except ValueError as error:
            self.log.warn(
                "no queue can be called {queue}: {reason}", queue=answer_to.queue, reason=str(error)
            )


class _SignsOfLife:
    """Tells a caller, as often as it wants to hear, that its call is still worked on."""

    def __init__(self, clock: object, replies: Replies, channel: IChannel, answer_to: AnswerTo) -> None:
        assert answer_to.every is not None
        self._clock = clock
        self._replies = replies
        self._channel = channel
        self._answer_to = answer_to
        self._interval = answer_to.every / 2
        self._next: IDelayedCall | None = None
        self._wait()

    def _wait(self) -> None:
        self._next = self._clock.callLater(self._interval, self._tell)  # type: ignore[attr-defined]

    def _tell(self) -> None:
        self._next = None
        try:
            self._replies.send(
                self._channel,
                self._answer_to.queue,
                envelope.write_reply(self._answer_to.msg_id, ending=False),
            )
        except (BrokerError, ValueError):
            return
        self._wait()

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None


def _parsed(version: str) -> tuple[int, int]:
    """Major and minor; what is no version matches none."""
    major, _, minor = version.partition(".")
    try:
        return int(major), int(minor or 0)
    except ValueError:
        return -1, 0
