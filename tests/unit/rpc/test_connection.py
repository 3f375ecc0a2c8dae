"""The connection's life, over transports that are strings."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer, error
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from nfp.rpc.amqp.interfaces import ISession
from nfp.rpc.attachment import Attachment
from nfp.rpc.connection import AnyHost, RpcConnection
from nfp.rpc.options import RpcOptions
from nfp.rpc.url import BrokerURL
from tests.unit.rpc import wire

URL = BrokerURL.parse("rabbit://u:hush@broker/")


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects when told to."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, defer.Deferred[Any]]] = []
        self.connected: list[tuple[Any, wire.Transport]] = []

    def connect(self, factory: Any) -> defer.Deferred[Any]:
        """An attempt."""
        attempt: defer.Deferred[Any] = defer.Deferred()
        self.attempts.append((factory, attempt))
        return attempt

    def succeed(self) -> tuple[Any, wire.Transport]:
        """The last attempt is connected."""
        factory, attempt = self.attempts[-1]
        protocol, transport = factory.buildProtocol(None), wire.Transport()
        protocol.makeConnection(transport)
        self.connected.append((protocol, transport))
        attempt.callback(protocol)
        return protocol, transport

    def fail(self) -> None:
        """The last attempt is refused."""
        self.attempts[-1][1].errback(error.ConnectionRefusedError())


class User:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def session_up(self, session: ISession) -> None:
        self.told.append("up")

    def session_down(self, why: Exception) -> None:
        self.told.append(str(why))


class RpcConnectionTests(SynchronousTestCase):
    """Connecting, logging in, losing it, and again."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.connection = RpcConnection(
            self.clock, URL, RpcOptions(heartbeat=0), endpoint=self.endpoint, jitter=lambda: 0.0
        )
        self.user = User()
        self.connection.attach(self.user)
        self.connection.startService()

    def log_in(self) -> tuple[Any, wire.Transport]:
        """The broker lets us in."""
        protocol, transport = self.endpoint.succeed()
        for data in (wire.START, wire.TUNE, wire.OPEN_OK):
            protocol.dataReceived(data)
        return protocol, transport

    def lose(self, protocol: Any) -> None:
        """The transport goes."""
        protocol.connectionLost(Failure(error.ConnectionDone()))

    def waits(self) -> float:
        """Seconds until the next attempt; lets them pass."""
        (call,) = self.clock.getDelayedCalls()
        seconds: float = call.getTime() - self.clock.seconds()
        self.clock.advance(seconds)
        return seconds

    def test_login(self) -> None:
        """Users and waiters are told once it is done, later ones at once."""
        waiting = self.connection.when_connected()
        self.assertNoResult(waiting)
        _, transport = self.log_in()
        self.successResultOf(waiting)
        self.successResultOf(self.connection.when_connected())
        self.assertEqual(self.user.told, ["up"])
        late = User()
        self.connection.attach(late)
        self.assertEqual(late.told, ["up"])
        start_ok = wire.sent(transport)[0]
        self.assertEqual((start_ok.mechanism, start_ok.response), ("PLAIN", "\0u\0hush"))

    def test_loss(self) -> None:
        """Is told, and followed by another session."""
        protocol, _ = self.log_in()
        self.lose(protocol)
        self.assertIsNone(self.connection.session)
        self.assertEqual(len(self.user.told), 2)
        self.waits()
        self.log_in()
        self.assertEqual((self.user.told[0], self.user.told[2]), ("up", "up"))

    def test_backoff(self) -> None:
        """Grows to a limit, and begins anew after a login."""
        delays = []
        for _ in range(14):
            self.endpoint.fail()
            delays.append(self.waits())
        self.assertEqual(delays, sorted(delays))
        self.assertEqual((delays[0], delays[-1]), (0.25, 15.0))
        protocol, _ = self.log_in()
        self.lose(protocol)
        self.assertEqual(self.waits(), 0.25)

    def test_refused_logins_back_off_too(self) -> None:
        """Though the connection itself was fine each time."""
        delays = []
        for _ in range(4):
            protocol, transport = self.endpoint.succeed()
            protocol.dataReceived(wire.START)
            protocol.dataReceived(wire.method(0, "connection.close", 403, "ACCESS_REFUSED", 0, 0))
            self.assertTrue(transport.aborted)
            self.lose(protocol)
            delays.append(self.waits())
        self.assertEqual(delays, sorted(set(delays)))
        self.assertEqual(self.user.told, [])

    def test_a_connection_that_ends_during_the_login(self) -> None:
        """Is tried again; nothing is left in between."""
        protocol, _ = self.endpoint.succeed()
        self.lose(protocol)
        self.waits()
        self.log_in()
        self.assertEqual(self.user.told, ["up"])

    def test_a_login_without_an_answer(self) -> None:
        """Is broken off after its time."""
        protocol, transport = self.endpoint.succeed()
        self.clock.advance(10)
        self.assertTrue(transport.aborted)
        self.lose(protocol)
        self.waits()
        self.assertEqual(len(self.endpoint.attempts), 2)

    def test_stop(self) -> None:
        """With a goodbye, and an end even without its answer."""
        protocol, transport = self.log_in()
        transport.clear()
        stopping = self.connection.stopService()
        self.assertEqual([one.method.name for one in wire.sent(transport)], ["close"])
        protocol.dataReceived(wire.method(0, "connection.close-ok"))
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.aborted)
        self.lose(protocol)
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_of_a_dead_connection(self) -> None:
        """Is broken off."""
        protocol, transport = self.log_in()
        stopping = self.connection.stopService()
        self.clock.advance(2)
        self.assertTrue(transport.aborted)
        self.lose(protocol)
        self.successResultOf(stopping)

    def test_stop_during_a_login_and_while_waiting(self) -> None:
        """Waiters are cancelled."""
        waiting = self.connection.when_connected()
        protocol, transport = self.endpoint.succeed()
        stopping = self.connection.stopService()
        self.assertTrue(transport.aborted)
        self.lose(protocol)
        self.successResultOf(stopping)
        self.failureResultOf(waiting, defer.CancelledError)
        self.connection.startService()
        self.endpoint.fail()
        self.successResultOf(self.connection.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_attachment_stopped_during_its_set_up(self) -> None:
        """Leaves no channel behind that consumes."""
        setting_up: defer.Deferred[None] = defer.Deferred()

        async def set_up(session: object, channel: object) -> None:
            await setting_up

        attachment = Attachment(self.connection, "x", set_up)
        protocol, transport = self.log_in()
        attachment.start()
        protocol.dataReceived(wire.method(1, "channel.open-ok", ""))
        transport.clear()
        self.successResultOf(defer.Deferred.fromCoroutine(attachment.stop()))
        setting_up.callback(None)
        self.assertEqual([one.method.name for one in wire.sent(transport)], ["close"])
        self.assertIsNone(attachment.channel)


class AnyHostTests(SynchronousTestCase):
    """Several brokers."""

    def test_each_in_turn(self) -> None:
        """The next one after every attempt."""
        reactor = MemoryReactorClock()
        endpoint = AnyHost(reactor, BrokerURL.parse("rabbit://10.0.0.1:1,10.0.0.2:2/"), 5)
        for _ in range(3):
            connecting = endpoint.connect(object())
            connecting.addErrback(lambda failure: None)
            reactor.advance(0)
        ports = [client[1] for client in reactor.tcpClients]
        self.assertEqual(ports, [1, 2, 1])
