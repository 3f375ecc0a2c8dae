"""The one connection of a process to the broker, kept up as long as the service runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.application.internet import ClientService
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from nfp.daemon.inflight import InFlight
from nfp.rpc.amqp.errors import BrokerError, LoginRefused
from nfp.rpc.amqp.interfaces import ISession
from nfp.rpc.amqp.protocol import Client
from nfp.rpc.amqp.session import ClientFactory, Session
from nfp.rpc.options import RpcOptions
from nfp.rpc.url import BrokerURL

FIRST_RETRY = 0.25
GROWTH = 1.6
GOODBYE = 2.0


class IAttached(Interface):
    """Somebody who uses the connection."""

    def session_up(session: ISession) -> None:
        """We are logged in."""

    def session_down(why: Exception) -> None:
        """The session is gone; another follows."""


@implementer(IStreamClientEndpoint)
class AnyHost:
    """Tries one host of a URL at a time, the next one after each failure or loss.

    TLS goes here: :func:`~twisted.internet.endpoints.wrapClientTLS` around each endpoint.
    """

    log = Logger()

    def __init__(self, reactor: Any, url: BrokerURL, timeout: float) -> None:
        self._reactor = reactor
        self._hosts = url.hosts
        self._timeout = timeout
        self._next = 0

    def connect(self, protocolFactory: Any) -> defer.Deferred[Any]:
        """Connect to the host whose turn it is."""
        host, port = self._hosts[self._next]
        self._next = (self._next + 1) % len(self._hosts)
        self.log.info("connecting to broker {host}:{port}", host=host, port=port)
        endpoint = HostnameEndpoint(self._reactor, host.encode(), port, timeout=self._timeout)
        connecting: defer.Deferred[Any] = endpoint.connect(protocolFactory)

        def failed(failure: Failure) -> Failure:
            if not failure.check(defer.CancelledError):
                self.log.warn(
                    "no connection to broker {host}:{port}: {reason}",
                    host=host,
                    port=port,
                    reason=failure.getErrorMessage(),
                )
            return failure

        return connecting.addErrback(failed)


class RpcConnection(Service):
    """Connects, logs in, and does so again with backoff and jitter whenever the connection ends.

    ``ClientService`` alone would not do for the login: a connection that ends inside its
    ``prepareConnection`` puts its machine into a state without a way out.  So the login follows
    the connection, and refused logins count as failed attempts here.

    :param reactor: connects, and is the clock.
    :param endpoint: in place of the URL's hosts.
    :param jitter: gives numbers from 0 to 1.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        url: BrokerURL,
        options: RpcOptions,
        *,
        endpoint: IStreamClientEndpoint | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.clock = reactor
        self.options = options
        self.session: ISession | None = None
        self._url = url
        self._jitter = jitter
        self._attempts = 0
        self._attached: list[Any] = []
        self._waiting: list[defer.Deferred[None]] = []
        self._logging_in: Session | None = None
        self._work = InFlight(self.log)
        factory = ClientFactory(url.vhost, options.heartbeat, reactor, self._connected, self._blocked)
        self._service = ClientService(
            endpoint or AnyHost(reactor, url, options.connect_timeout),
            factory,
            retryPolicy=self._delay,
            clock=reactor,
        )

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()  # type: ignore[no-untyped-call]
        self._service.startService()

    def stopService(self) -> defer.Deferred[None]:
        """Say goodbye and disconnect."""
        super().stopService()  # type: ignore[no-untyped-call]
        return defer.Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        session = self.session
        if session is not None:
            await session.close(GOODBYE)
        if self._logging_in is not None:
            self._logging_in.abort()
        await self._service.stopService()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.cancel()

    def attach(self, user: Any) -> None:
        """Tell *user*, an :class:`IAttached`, of this session and of those to come."""
        self._attached.append(user)
        if self.session is not None:
            user.session_up(self.session)

    def detach(self, user: Any) -> None:
        """Tell *user* nothing more."""
        if user in self._attached:
            self._attached.remove(user)

    def when_connected(self) -> defer.Deferred[None]:
        """Fires when we are logged in, at once if we are.  Cancelled if the service stops first."""
        if self.session is not None:
            return defer.succeed(None)
        waiting: defer.Deferred[None] = defer.Deferred(self._waiting_cancelled)
        self._waiting.append(waiting)
        return waiting

    def _waiting_cancelled(self, waiting: defer.Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _delay(self, _attempt: int) -> float:
        # ClientService counts a connection whose login was refused as good; we do not.
        delay = min(FIRST_RETRY * GROWTH ** min(self._attempts, 50), self.options.longest_retry)
        self._attempts += 1
        return delay * (1 + self._jitter())

    def _connected(self, client: Client) -> None:
        session = Session(client)
        self._logging_in = session
        _ = self._work.start("the login", self._log_in(session))

    async def _log_in(self, session: Session) -> None:
        login = defer.Deferred.fromCoroutine(session.log_in(self._url.username, self._url.password.reveal()))
        try:
            await login.addTimeout(self.options.connect_timeout, self.clock)
        except LoginRefused as error:
            self.log.error("the broker refuses our login: {reason}", reason=str(error))
        except (BrokerError, defer.TimeoutError) as error:
            self.log.warn("no login at the broker: {reason}", reason=str(error))
        else:
            self._logging_in = None
            self._logged_in(session)
            return
        self._logging_in = None
        session.abort()

    def _logged_in(self, session: Session) -> None:
        self._attempts = 0
        self.session = session
        self.log.info("connected to the broker")
        session.when_lost(self._lost)
        for user in list(self._attached):
            user.session_up(session)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def _lost(self, why: Exception) -> None:
        self.session = None
        if self.running:
            self.log.warn("the connection to the broker is lost: {reason}", reason=str(why))
        else:
            self.log.info("disconnected from the broker")
        for user in list(self._attached):
            user.session_down(why)

    def _blocked(self, reason: str | None) -> None:
        if reason is None:
            self.log.info("the broker takes messages again")
        else:
            self.log.warn("the broker takes no messages: {reason}", reason=reason)
