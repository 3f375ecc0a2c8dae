"""The narrow interface, made of the corrected txAMQP classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet import defer
from twisted.internet.protocol import Factory
from zope.interface import implementer

from nfp.rpc.amqp import frames
from nfp.rpc.amqp.channel import Channel, explain
from nfp.rpc.amqp.errors import BrokerError, ConnectionLost, LoginRefused
from nfp.rpc.amqp.interfaces import Delivery, GivenBack, IChannel, ISession
from nfp.rpc.amqp.protocol import Client

ACK, REJECT = 80, 90


class ClientFactory(Factory):
    """Makes AMQP connections that have yet to log in.

    The arguments are those of :class:`~nfp.rpc.amqp.protocol.Client`.
    """

    noisy = False

    def __init__(
        self,
        vhost: str,
        heartbeat: int,
        clock: Any,
        connected: Callable[[Client], None],
        blocked: Callable[[str | None], None],
    ) -> None:
        self._arguments = (vhost, heartbeat, clock, connected, blocked)

    def buildProtocol(self, addr: object) -> Any:
        """A protocol for one connection."""
        return Client(*self._arguments)


@implementer(ISession)
class Session:
    """A connection, before and after its login.

    :param client: a connected protocol of :class:`ClientFactory`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def log_in(self, username: str, password: str) -> None:
        """Log in and open the virtual host.

        :raises LoginRefused: the broker said no.
        :raises ConnectionLost: the connection ended meanwhile.
        """
        try:
            await self._client.authenticate(username, password, mechanism="PLAIN")
        except Exception as error:
            if isinstance(error, defer.CancelledError):
                raise
            why = explain(error)
            if str(why)[:3] in ("403", "530", "404"):
                raise LoginRefused(str(why)) from None
            raise why from None

    async def open_channel(self) -> BrokerChannel:
        """See :class:`~nfp.rpc.amqp.interfaces.ISession`."""
        if self._client.closed:
            raise ConnectionLost("the connection was closed")
        channel = self._client.free_channel()
        await channel.channel_open()
        return BrokerChannel(self._client, channel)

    def when_lost(self, callback: Callable[[Exception], None]) -> None:
        """See :class:`~nfp.rpc.amqp.interfaces.ISession`."""
        channel = self._client.channels.get(0)
        if channel is None:
            callback(ConnectionLost("the connection was closed"))
        else:
            channel.when_closed(callback)

    async def close(self, timeout: float) -> None:
        """See :class:`~nfp.rpc.amqp.interfaces.ISession`."""
        client = self._client
        if not client.closed:
            goodbye = client.channels[0].connection_close(reply_code=200, reply_text="goodbye")
            goodbye.addTimeout(timeout, client.clock)
            try:
                await goodbye
            except (defer.TimeoutError, BrokerError):
                self.abort()
            client.do_close(ConnectionLost("the connection was closed"))

    def abort(self) -> None:
        """Break the connection off, dropping what is not sent yet."""
        self._client.transport.abortConnection()


@implementer(IChannel)
class BrokerChannel:
    """See :class:`~nfp.rpc.amqp.interfaces.IChannel`."""

    def __init__(self, client: Client, channel: Channel) -> None:
        self._client = client
        self._channel = channel
        self._number: int = channel.id

    def when_closed(self, callback: Callable[[Exception], None]) -> None:
        """See the interface."""
        self._channel.when_closed(callback)

    async def declare_exchange(
        self, name: str, kind: str, *, durable: bool, auto_delete: bool = False
    ) -> None:
        """See the interface."""
        await self._channel.exchange_declare(
            exchange=name, type=kind, durable=durable, auto_delete=auto_delete
        )

    async def declare_queue(
        self,
        name: str,
        *,
        durable: bool,
        arguments: Mapping[str, object] | None = None,
        passive: bool = False,
    ) -> int:
        """See the interface."""
        answer = await self._channel.queue_declare(
            queue=name, durable=durable, passive=passive, arguments=arguments or {}
        )
        count: int = answer.message_count
        return count

    async def bind_queue(self, queue: str, exchange: str, key: str) -> None:
        """See the interface."""
        await self._channel.queue_bind(queue=queue, exchange=exchange, routing_key=key)

    async def delete_queue(self, queue: str) -> None:
        """See the interface."""
        await self._channel.queue_delete(queue=queue)

    async def prefetch(self, count: int) -> None:
        """See the interface."""
        await self._channel.basic_qos(prefetch_count=count)

    async def consume(
        self,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        on_cancelled: Callable[[], None] | None = None,
    ) -> str:
        """See the interface."""
        # The tag is ours, so that a delivery right behind the answer finds its consumer.
        tag = f"nfp.{len(self._channel.consumers)}.{queue}"[:255]
        self._channel.consumers[tag] = (on_delivery, on_cancelled)
        try:
            await self._channel.basic_consume(queue=queue, consumer_tag=tag)
        except BrokerError:
            self._channel.consumers.pop(tag, None)
            raise
        return tag

    async def cancel(self, consumer: str) -> None:
        """See the interface."""
        if not self._channel.closed:
            await self._channel.basic_cancel(consumer_tag=consumer)
            self._channel.consumers.pop(consumer, None)

    def ack(self, tag: int) -> None:
        """See the interface."""
        if not self._channel.closed:
            self._client.send(frames.settle(self._number, ACK, tag))

    def reject(self, tag: int) -> None:
        """See the interface."""
        if not self._channel.closed:
            self._client.send(frames.settle(self._number, REJECT, tag))

    def publish(
        self, exchange: str, key: str, body: bytes, properties: bytes, *, mandatory: bool = False
    ) -> None:
        """See the interface."""
        if self._channel.closed:
            raise explain(self._channel.reason)
        self._client.send(
            frames.publish(
                self._number,
                exchange,
                key,
                body,
                properties,
                mandatory=mandatory,
                frame_max=self._client.MAX_LENGTH,
            )
        )
        # In confirm mode the broker counts these as well.
        self._channel.published += 1

    def on_given_back(self, callback: Callable[[GivenBack], None]) -> None:
        """See the interface."""
        self._channel.given_back = callback

    async def confirm_mode(self) -> None:
        """See the interface."""
        await self._channel.confirm_select()
        self._channel.published = 0

    def publish_confirmed(
        self, exchange: str, key: str, body: bytes, properties: bytes
    ) -> defer.Deferred[None]:
        """See the interface."""
        return self._channel.publish_confirmed(exchange, key, body, properties)

    async def close(self) -> None:
        """See the interface."""
        if not self._channel.closed:
            await self._channel.channel_close(reply_code=200, reply_text="done")
            self._channel.close(ConnectionLost("the channel was closed"))
