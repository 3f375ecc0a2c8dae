"""Exchanges and queues, declared as the deployment's other services declare them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from twisted.logger import Logger

from nfp.rpc.amqp.errors import ChannelClosed
from nfp.rpc.amqp.interfaces import IChannel, ISession

PRECONDITION_FAILED = 406
EXPIRES = 1800000
"""Milliseconds after which an unused fanout or reply queue goes."""

QUORUM = {"x-queue-type": "quorum"}


def fanout_exchange(topic: str) -> str:
    """The exchange that copies to every server of *topic*."""
    return f"{topic}_fanout"


class Topology:
    """Declares on a channel of its own, since a refusal costs the channel.

    Where a thing is there with the other durability, that is taken once, as oslo.messaging does.
    """

    log = Logger()

    def __init__(self, session: ISession) -> None:
        self._session = session
        self._channel: IChannel | None = None

    async def exchange(self, name: str, kind: str, *, durable: bool, auto_delete: bool = False) -> None:
        """Declare an exchange.

        :raises BrokerError: it cannot be had.
        """
        await self._declare(
            name,
            durable,
            lambda channel, flag: channel.declare_exchange(name, kind, durable=flag, auto_delete=auto_delete),
        )

    async def queue(self, name: str, *, durable: bool, arguments: Mapping[str, object] | None = None) -> None:
        """Declare a queue.

        :raises BrokerError: it cannot be had.
        """
        await self._declare(
            name,
            durable,
            lambda channel, flag: channel.declare_queue(name, durable=flag, arguments=arguments),
        )

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind a queue."""
        await (await self._open()).bind_queue(queue, exchange, key)

    async def transient(self, name: str, *, quorum: bool) -> None:
        """Declare a queue that goes when nobody has used it for half an hour."""
        arguments = {"x-expires": EXPIRES, **(QUORUM if quorum else {})}
        await self.queue(name, durable=quorum, arguments=arguments)

    async def close(self) -> None:
        """Let the channel go."""
        if self._channel is not None:
            await self._channel.close()

    async def _open(self) -> IChannel:
        if self._channel is None:
            self._channel = await self._session.open_channel()
        return self._channel

    async def _declare(
        self, name: str, durable: bool, declare: Callable[[IChannel, bool], Awaitable[object]]
    ) -> None:
        try:
            await declare(await self._open(), durable)
        except ChannelClosed as error:
            self._channel = None
            if error.status != PRECONDITION_FAILED:
                raise
            self.log.warn(
                "{name} is there with other flags, trying durable={durable}: {reason}",
                name=name,
                durable=not durable,
                reason=str(error),
            )
            await declare(await self._open(), not durable)
