"""Bytes between a UNIX socket and a TCP service, and nothing but bytes.

Each side reads only as fast as the other writes, so a connection holds at most a few buffers however
slow its reader is; an end of input travels on as an end of input (half-close), so that a request
which is finished by closing still gets its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from nfp.proxy.config import ProxySettings
from nfp.rest.dial import tcp_endpoint
from nfp.rest.listening import UnixPath

_log = Logger()

FAREWELL = 2.0
"""Seconds that connections have at stop to get rid of what they hold."""


@dataclass
class Counters:
    """What a forwarder has seen since it started."""

    accepted: int = 0
    refused: int = 0
    unreachable: int = 0
    timed_out: int = 0


@implementer(IHalfCloseableProtocol, IPushProducer)
class End(Protocol):
    """One end of a forwarded connection; as a producer it feeds the other end's transport.

    :ivar read_done: the other party sends no more.
    :ivar write_done: we have told the other party that no more will come.
    :ivar lost: the connection is no more.
    """

    peer: End | None = None

    def __init__(self, link: Link) -> None:
        self._link = link
        self.read_done = False
        self.write_done = False
        self.lost = False

    def connectionMade(self) -> None:
        """Read nothing until there is somewhere to put it."""
        self.transport.pauseProducing()  # type: ignore[union-attr]
        self._link.made(self)

    def join(self, peer: End) -> None:
        """Feed *peer* from now on."""
        self.peer = peer
        peer.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Pass *data* on; the other transport pauses us when it has too much."""
        self._link.alive()
        assert self.peer is not None
        self.peer.transport.write(data)  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        """The other end is full."""
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        """The other end has room."""
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        """The other end is gone; :meth:`Link.ended` closes this one."""

    def no_more(self) -> None:
        """Send what is left, then tell the other party that this was all: its producer has ended."""
        self.transport.unregisterProducer()  # type: ignore[union-attr]
        self.transport.loseWriteConnection()  # type: ignore[union-attr]

    def close(self) -> None:
        """Send what is left, then close."""
        if not self.lost:
            self.transport.unregisterProducer()  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]

    def abort(self) -> None:
        """Close now."""
        if not self.lost:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def readConnectionLost(self) -> None:
        """The other party has sent all it had."""
        self.read_done = True
        if self.peer is not None and not self.peer.lost:
            self.peer.no_more()
        self._link.half_closed()

    def writeConnectionLost(self) -> None:
        """All is written and the end announced."""
        self.write_done = True
        self._link.half_closed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is over."""
        self.lost = True
        self._link.ended(self)


class Link:
    """A client's connection and the one to the target that belongs to it.

    :param gone: called once, when both are closed.
    """

    def __init__(
        self, reactor: Any, settings: ProxySettings, counters: Counters, gone: Callable[[Link], None]
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._counters = counters
        self._gone = gone
        self._last = reactor.seconds()
        self._watch: Any = None
        self._over = False
        self._connecting: Deferred[Any] | None = None
        self.near = End(self)
        self.far = End(self)
        self.far.lost = True

    def made(self, end: End) -> None:
        """One end stands: when it is the client's, open the connection to the target."""
        if end is self.near:
            self._connect()

    def _connect(self) -> None:
        settings = self._settings
        way = tcp_endpoint(
            self._reactor, settings.target_host, settings.target_port, settings.connect_timeout
        )
        self._connecting = way.connect(Factory.forProtocol(lambda: self.far))
        _ = self._connecting.addCallbacks(self._joined, self._unreachable)

    def _joined(self, _: object) -> None:
        self._connecting = None
        self.far.lost = False
        if self.near.lost:
            self.far.abort()
            return
        # Answers to a question must not wait for more of them.
        self.far.transport.setTcpNoDelay(True)  # type: ignore[union-attr]
        self.far.transport.setTcpKeepAlive(True)  # type: ignore[union-attr]
        self.alive()
        self._look()
        self.near.join(self.far)
        self.far.join(self.near)

    def _unreachable(self, failure: Failure) -> None:
        self._connecting = None
        if not self.near.lost:
            self._counters.unreachable += 1
            _log.warn(
                "cannot reach {target}: {reason}",
                target=self._settings.target,
                reason=failure.getErrorMessage(),
            )
        self.near.abort()
        self._settle()

    def alive(self) -> None:
        """Bytes have moved."""
        self._last = self._reactor.seconds()

    def _look(self) -> None:
        """End the connection if it has been idle for too long, else look again when it could have been.

        One timer that is rarely reached costs less than moving it at each piece of data.
        """
        self._watch = None
        left = self._last + self._settings.idle_timeout - self._reactor.seconds()
        if left > 0:
            self._watch = self._reactor.callLater(left, self._look)
            return
        self._counters.timed_out += 1
        self.abort()

    def half_closed(self) -> None:
        """Close both ends once nothing more can pass in either direction."""
        if all(end.read_done and end.write_done for end in (self.near, self.far)):
            self.close()

    def ended(self, end: End) -> None:
        """One connection is over: so is the other, once it has sent what it holds."""
        (self.far if end is self.near else self.near).close()
        if end is self.near and self._connecting is not None:
            self._connecting.cancel()
        self._settle()

    def _settle(self) -> None:
        if not self._over and self.near.lost and self.far.lost and self._connecting is None:
            if self._watch is not None:
                self._watch.cancel()
                self._watch = None
            self._over = True
            self._gone(self)

    def close(self) -> None:
        """Let both ends send what they hold, then close them."""
        self.near.close()
        self.far.close()

    def abort(self) -> None:
        """Close both ends now."""
        self.near.abort()
        self.far.abort()


class Links(Factory):
    """Accepts clients, up to a limit."""

    noisy = False

    def __init__(self, reactor: Any, settings: ProxySettings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._full = False
        self._none_left: Deferred[None] | None = None
        self.counters = Counters()
        self.open: set[Link] = set()

    def buildProtocol(self, addr: object) -> End | None:
        """Take a client, or close it at once when there are too many."""
        if len(self.open) >= self._settings.max_connections:
            self.counters.refused += 1
            if not self._full:
                _log.warn("{limit} connections are open: refusing more", limit=len(self.open))
            self._full = True
            return None
        self._full = False
        self.counters.accepted += 1
        link = Link(self._reactor, self._settings, self.counters, self._gone)
        self.open.add(link)
        return link.near

    def _gone(self, link: Link) -> None:
        self.open.discard(link)
        if not self.open and self._none_left is not None:
            waiting, self._none_left = self._none_left, None
            waiting.callback(None)

    async def drain(self) -> None:
        """Close all connections: what they hold is sent if that takes no longer than :data:`FAREWELL`."""
        for link in list(self.open):
            link.close()
        if self.open:
            self._none_left = Deferred()
            cut = self._reactor.callLater(FAREWELL, self._cut)
            await self._none_left
            if cut.active():
                cut.cancel()

    def _cut(self) -> None:
        for link in list(self.open):
            link.abort()


class Forwarder(Service):
    """Serves the UNIX socket and forwards what comes there.

    :ivar counters: what it has seen.
    """

    name = "forwarder"

    def __init__(self, reactor: Any, settings: ProxySettings) -> None:
        self._reactor = reactor
        self._path = UnixPath(settings.socket, settings.mode)
        self._settings = settings
        self.links = Links(reactor, settings)

    @property
    def counters(self) -> Counters:
        """What it has seen."""
        return self.links.counters

    def startService(self) -> None:
        """Listen.

        :raises nfp.rest.listening.SocketInUse: somebody else does.
        """
        self._path.listen(self._reactor, self.links)
        Service.startService(self)
        _log.info(
            "forwarding {socket} to {target}", socket=self._settings.socket, target=self._settings.target
        )

    def stopService(self) -> Deferred[None]:
        """Listen no more, then close what is open."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._path.stop()
        await self.links.drain()
