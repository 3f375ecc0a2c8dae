"""The forwarder between real sockets."""

# ruff: noqa: ASYNC240 -- a look at a local socket file blocks nobody

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 -- real sockets are what is tested
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from nfp.proxy.config import ProxySettings
from nfp.proxy.forward import Forwarder
from nfp.rest.listening import SocketInUse

MEGABYTES_10 = 10 * 1024 * 1024


async def until(condition: Any, seconds: float = 10.0) -> None:
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("the condition did not come true")
        await deferLater(reactor, 0.01)


@implementer(IHalfCloseableProtocol)
class Party(Protocol):
    """One of the two parties around the forwarder."""

    def __init__(self) -> None:
        self.made: Deferred[None] = Deferred()
        self.received = bytearray()
        self.heard_all = False
        self.lost: Failure | None = None

    def connectionMade(self) -> None:
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.heard_all = True

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Parties(Factory):
    def __init__(self) -> None:
        self.made: list[Party] = []

    def buildProtocol(self, addr: object) -> Party:
        party = Party()
        party.factory = self
        self.made.append(party)
        return party


class ForwardingTests(TestCase):
    timeout = 60

    async def setUp(self) -> None:
        self.where = Path(tempfile.mkdtemp(prefix="nfp-forward-", dir="/tmp"))
        self.path = str(self.where / "proxy.sock")
        self.servers = Parties()
        self.target = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.servers)
        self.addCleanup(self.target.stopListening)
        self.parties: list[Party] = []

    async def tearDown(self) -> None:
        for party in self.parties + self.servers.made:
            if party.transport is not None and party.lost is None:
                party.transport.abortConnection()
        await until(lambda: all(p.lost for p in self.parties + self.servers.made))
        for left in self.where.iterdir():
            left.unlink()
        self.where.rmdir()

    def forwarder(self, **settings: Any) -> Forwarder:
        told = {"socket": self.path, "target_host": "127.0.0.1", "target_port": self.target.getHost().port}
        service = Forwarder(reactor, ProxySettings(**{**told, **settings}))
        service.startService()
        self.addCleanup(service.stopService)
        return service

    async def client(self) -> Party:
        party = await UNIXClientEndpoint(reactor, self.path).connect(Factory.forProtocol(Party))
        self.parties.append(party)
        return party

    async def joined(self) -> tuple[Party, Party]:
        client = await self.client()
        await until(lambda: self.servers.made and self.servers.made[-1].made.called)
        return client, self.servers.made[-1]

    async def test_bytes_pass_both_ways_unchanged(self) -> None:
        self.forwarder()
        client, server = await self.joined()
        client.transport.write(bytes(range(256)))
        server.transport.write(b"\x00answer\xff")
        await until(lambda: len(server.received) == 256 and len(client.received) == 8)
        self.assertEqual(server.received, bytes(range(256)))
        self.assertEqual(client.received, b"\x00answer\xff")

    async def test_a_slow_reader_holds_back_the_sender(self) -> None:
        """10 MB are under way and the forwarder holds a few buffers of it."""
        forwarder = self.forwarder()
        client, server = await self.joined()
        server.transport.pauseProducing()
        sent = os.urandom(MEGABYTES_10)
        client.transport.write(sent)
        (link,) = forwarder.links.open

        def held() -> int:
            transport = link.far.transport
            return len(transport.dataBuffer) - transport.offset + transport._tempDataLen

        before = -1
        while before != len(client.transport.dataBuffer) - client.transport.offset:
            before = len(client.transport.dataBuffer) - client.transport.offset
            await deferLater(reactor, 0.2)
        self.assertGreater(before, 0, "the whole body went in although nobody reads: not a test")
        self.assertLess(held(), 512 * 1024)
        most = 0
        server.transport.resumeProducing()
        while len(server.received) < len(sent):
            most = max(most, held())
            await deferLater(reactor, 0.001)
        self.assertEqual(bytes(server.received), sent)
        self.assertLess(most, 512 * 1024)

    async def test_a_slow_client_holds_back_the_target(self) -> None:
        forwarder = self.forwarder()
        client, server = await self.joined()
        client.transport.pauseProducing()
        sent = os.urandom(MEGABYTES_10)
        server.transport.write(sent)
        (link,) = forwarder.links.open
        await until(lambda: link.far.transport not in reactor.getReaders())
        near = link.near.transport
        self.assertLess(len(near.dataBuffer) - near.offset + near._tempDataLen, 512 * 1024)
        client.transport.resumeProducing()
        await until(lambda: len(client.received) == len(sent))
        self.assertEqual(bytes(client.received), sent)

    async def test_the_end_of_a_request_passes_and_its_answer_comes_back(self) -> None:
        forwarder = self.forwarder()
        client, server = await self.joined()
        client.transport.write(b"question")
        client.transport.loseWriteConnection()
        await until(lambda: server.heard_all)
        self.assertEqual(server.received, b"question")
        server.transport.write(b"x" * MEGABYTES_10)
        server.transport.loseWriteConnection()
        await until(lambda: client.heard_all)
        self.assertEqual(len(client.received), MEGABYTES_10)
        await until(lambda: not forwarder.links.open)

    async def test_the_end_of_an_answer_passes_while_the_client_still_sends(self) -> None:
        forwarder = self.forwarder()
        client, server = await self.joined()
        server.transport.write(b"enough")
        server.transport.loseWriteConnection()
        await until(lambda: client.heard_all)
        client.transport.write(b"more")
        await until(lambda: server.received == b"more")
        client.transport.loseConnection()
        await until(lambda: not forwarder.links.open and server.heard_all)

    async def test_a_client_that_vanishes_takes_its_connection_along(self) -> None:
        forwarder = self.forwarder()
        client, server = await self.joined()
        client.transport.abortConnection()
        await until(lambda: server.heard_all or server.lost)
        server.transport.loseConnection()
        await until(lambda: not forwarder.links.open)

    async def test_a_target_that_vanishes_closes_the_client(self) -> None:
        forwarder = self.forwarder()
        client, server = await self.joined()
        server.transport.write(b"last words")
        server.transport.loseConnection()
        await until(lambda: client.heard_all)
        self.assertEqual(client.received, b"last words")
        client.transport.loseConnection()
        await until(lambda: not forwarder.links.open)

    async def test_a_dead_target_closes_the_client_at_once(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            forwarder = self.forwarder(target_port=unused.getsockname()[1])
            client = await self.client()
            await until(lambda: client.lost or client.heard_all)
        self.assertEqual(forwarder.counters.unreachable, 1)
        await until(lambda: not forwarder.links.open)

    async def test_a_target_that_does_not_answer_is_given_up(self) -> None:
        """A full backlog is the nearest thing to a silent host."""
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = []
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                fillers.append(filler)
            self.addCleanup(lambda: [filler.close() for filler in fillers])
            forwarder = self.forwarder(target_port=full.getsockname()[1], connect_timeout=0.2)
            client = await self.client()
            await until(lambda: client.lost or client.heard_all, seconds=5)
            self.assertEqual(forwarder.counters.unreachable, 1)

    async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(self) -> None:
        forwarder = self.forwarder(idle_timeout=0.4)
        busy, busy_server = await self.joined()
        idle, _ = await self.joined()
        end = reactor.seconds() + 1.2
        while reactor.seconds() < end:
            busy_server.transport.write(b".")
            await deferLater(reactor, 0.05)
        self.assertIsNone(busy.lost)
        self.assertTrue(idle.lost or idle.heard_all)
        self.assertEqual(forwarder.counters.timed_out, 1)

    async def test_too_many_connections_are_refused_and_room_is_found_again(self) -> None:
        forwarder = self.forwarder(max_connections=2)
        first, _ = await self.joined()
        await self.joined()
        third = await self.client()
        await until(lambda: third.lost or third.heard_all)
        self.assertEqual(forwarder.counters.refused, 1)
        first.transport.abortConnection()
        self.servers.made[0].transport.loseConnection()
        await until(lambda: len(forwarder.links.open) == 1)
        fourth, _ = await self.joined()
        fourth.transport.write(b"hello")
        await until(lambda: self.servers.made[-1].received == b"hello")

    async def test_the_socket_has_the_mode_that_was_asked_for(self) -> None:
        self.forwarder(mode=0o600)
        self.assertEqual(stat.S_IMODE(Path(self.path).stat().st_mode), 0o600)

    async def test_by_default_owner_and_group_may_connect_and_nobody_else(self) -> None:
        self.forwarder()
        self.assertEqual(stat.S_IMODE(Path(self.path).stat().st_mode), 0o660)

    async def test_a_socket_that_a_dead_process_left_is_cleared_away(self) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
            dead.listen()
        self.forwarder()
        client, server = await self.joined()
        client.transport.write(b"alive")
        await until(lambda: server.received == b"alive")

    async def test_a_socket_that_lives_is_left_alone(self) -> None:
        with socket.socket(socket.AF_UNIX) as living:
            living.bind(self.path)
            living.listen()
            self.assertRaises(SocketInUse, self.forwarder)
            self.assertTrue(Path(self.path).exists())

    async def test_a_second_forwarder_is_refused_and_the_first_serves_on(self) -> None:
        self.forwarder()
        self.assertRaises(SocketInUse, self.forwarder)
        client, server = await self.joined()
        client.transport.write(b"still here")
        await until(lambda: server.received == b"still here")

    async def test_what_is_no_socket_is_left_alone(self) -> None:
        Path(self.path).write_text("precious")
        self.assertRaises(FileExistsError, self.forwarder)
        self.assertEqual(Path(self.path).read_text(), "precious")

    async def test_it_reaches_ipv6_literals_and_names(self) -> None:
        over6 = await TCP6ServerEndpoint(reactor, 0, interface="::1").listen(self.servers)
        self.addCleanup(over6.stopListening)
        for host, port in (("::1", over6.getHost().port), ("localhost", self.target.getHost().port)):
            forwarder = self.forwarder(target_host=host, target_port=port)
            client, server = await self.joined()
            client.transport.write(b"over it")
            await until(lambda made=server: made.received == b"over it")
            server.transport.abortConnection()
            await forwarder.stopService()

    async def test_stopping_flushes_what_is_held_and_ends(self) -> None:
        forwarder = self.forwarder()
        client, server = await self.joined()
        server.transport.write(b"y" * 200_000)
        await until(lambda: len(client.received) > 0)
        stopping = forwarder.stopService()
        await stopping
        self.assertFalse(forwarder.links.open)
        self.assertFalse(Path(self.path).exists())
