"""A channel that is there whenever the broker is, with what its user declared on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from nfp.daemon.inflight import InFlight
from nfp.rpc.amqp.errors import BrokerError
from nfp.rpc.amqp.interfaces import IChannel, ISession
from nfp.rpc.connection import IAttached, RpcConnection

AGAIN = 1.0
"""Seconds until a set-up that failed, or a channel that the broker closed, is tried again."""
LONGEST = 30.0


@implementer(IAttached)
class Attachment:
    """Sets a channel up in each session, and again when the broker closes only the channel.

    :param name: for the log.
    :param set_up: declares and consumes; may raise :class:`BrokerError`, then it is tried again.
    :param torn_down: called when a channel that was set up has ended.
    """

    log = Logger()

    def __init__(
        self,
        connection: RpcConnection,
        name: str,
        set_up: Callable[[ISession, IChannel], Awaitable[None]],
        torn_down: Callable[[Exception], None] = lambda why: None,
    ) -> None:
        self.channel: IChannel | None = None
        self._connection = connection
        self._name = name
        self._set_up = set_up
        self._torn_down = torn_down
        self._session: ISession | None = None
        self._attempts = 0
        self._work = InFlight(self.log)
        self._retry: IDelayedCall | None = None
        self._waiting: list[defer.Deferred[None]] = []

    def start(self) -> None:
        """Begin, in this session or the next."""
        self._connection.attach(self)

    async def stop(self) -> None:
        """Close the channel and come back no more."""
        self._connection.detach(self)
        self._session = None
        self._cancel_retry()
        channel, self.channel = self.channel, None
        if channel is not None:
            try:
                await channel.close()
            except BrokerError:
                self.log.debug("the channel of {name} ended by itself", name=self._name)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.cancel()

    def when_ready(self) -> defer.Deferred[None]:
        """Fires when the channel is set up, at once if it is."""
        if self.channel is not None:
            return defer.succeed(None)
        waiting: defer.Deferred[None] = defer.Deferred(self._waiting_cancelled)
        self._waiting.append(waiting)
        return waiting

    def _waiting_cancelled(self, waiting: defer.Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def session_up(self, session: ISession) -> None:
        """See :class:`IAttached`."""
        self._session = session
        self._attempts = 0
        self._begin()

    def session_down(self, why: Exception) -> None:
        """See :class:`IAttached`."""
        self._session = None
        self._cancel_retry()

    def renew(self) -> None:
        """Give the channel up and set another one up: a consumer on it has ended."""
        channel = self.channel
        if channel is not None:
            _ = self._work.start(f"closing {self._name}", _close(channel))

    def _begin(self) -> None:
        self._retry = None
        if self._session is not None:
            _ = self._work.start(f"setting up {self._name}", self._try(self._session))

    async def _try(self, session: ISession) -> None:
        channel: IChannel | None = None
        try:
            channel = await session.open_channel()
            await self._set_up(session, channel)
        except BrokerError as error:
            if session is self._session:
                self.log.error("cannot set up {name}: {reason}", name=self._name, reason=str(error))
                if channel is not None:
                    await _close(channel)
                self._again()
            return
        if session is not self._session:
            # Stopped, or lost, while it was being set up.
            await _close(channel)
            return
        self._attempts = 0
        self.channel = channel
        channel.when_closed(self._closed)
        if self.channel is not channel:
            return
        self.log.info("{name} is ready", name=self._name)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def _closed(self, why: Exception) -> None:
        if self.channel is None:
            return
        self.channel = None
        self._torn_down(why)
        if self._session is not None:
            self.log.error("the channel of {name} ended: {reason}", name=self._name, reason=str(why))
            self._again()

    def _again(self) -> None:
        if self._session is not None and self._retry is None:
            delay = min(AGAIN * 2**self._attempts, LONGEST)
            self._attempts = min(self._attempts + 1, 10)
            self._retry = self._connection.clock.callLater(delay, self._begin)

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None


async def _close(channel: IChannel) -> None:
    try:
        await channel.close()
    except BrokerError:
        return
