"""The corrected connection, each correction beside the fault of the stock class."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import txamqp.spec
from twisted.internet import defer
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from txamqp.content import Content
from zope.interface.verify import verifyObject

from nfp.rpc.amqp import frames, tables
from nfp.rpc.amqp.errors import BrokerError, ChannelClosed, ConnectionLost, LoginRefused, NotRouted, NotTaken
from nfp.rpc.amqp.interfaces import Delivery, GivenBack, IChannel, ISession
from nfp.rpc.amqp.protocol import Client
from nfp.rpc.amqp.session import BrokerChannel, Session
from tests.unit.rpc import wire

EMPTY = b"\0\0"


def consume(peer: wire.Peer, channel: Any, heard: list[Delivery]) -> BrokerChannel:
    """Consume on a corrected channel."""
    narrow = BrokerChannel(peer.client, channel)
    consuming = defer.Deferred.fromCoroutine(narrow.consume("q", heard.append))
    tag = next(iter(channel.consumers))
    peer.receive(wire.method(1, "basic.consume-ok", tag))
    assert consuming.result == tag
    peer.transport.clear()
    return narrow


class StockFaultTests(SynchronousTestCase):
    """One fault of txAMQP 0.8.2 each: shown there, and gone here."""

    def forget_what_nobody_handles(self) -> None:
        """The stock class leaves failed Deferreds behind."""
        gc.collect()
        self.flushLoggedErrors()

    def test_no_specification_is_shipped(self) -> None:
        """Ours has what RabbitMQ adds, and loads; its reader crashes on an empty method element."""
        self.assertFalse(Path(txamqp.spec.DEFAULT_SPEC).exists())
        for name in ("confirm.select", "basic.nack", "connection.blocked", "exchange.bind"):
            self.assertIsNotNone(wire.specified(name))
        empty = '<class name="c" index="1" handler="c"><method name="m" index="1"/></class>'
        document = f'<amqp major="9" minor="1">{empty}</amqp>'
        self.assertRaises(AttributeError, txamqp.spec.load_string, document)

    def test_a_body_that_is_not_ascii_hangs(self) -> None:
        """Its length is compared in characters with bytes, so the rest is waited for."""
        body = "é".encode()
        peer = wire.corrected()
        heard: list[Delivery] = []
        consume(peer, peer.channel(), heard)
        tag = next(iter(peer.client.channels[1].consumers))
        peer.receive(wire.deliver(1, tag, 5, body))
        self.assertEqual([(one.body, one.tag) for one in heard], [(body, 5)])

        old = wire.stock()
        old.channel()
        got: list[Any] = []
        old.client.queue("t").addCallback(lambda queue: queue.get().addCallback(got.append))
        old.receive(wire.deliver(1, "t", 5, b"plain"))
        self.assertEqual(len(got), 1)
        old.client.queue("t").addCallback(lambda queue: queue.get().addCallback(got.append))
        old.receive(wire.deliver(1, "t", 6, body), wire.deliver(1, "t", 7, b"next"))
        self.assertEqual(len(got), 1)

    def test_a_foreign_header_drops_the_connection(self) -> None:
        """And the broker delivers the same message to the next connection, for ever."""
        properties = b"\x20\0" + tables.encode({"trace": [1, None]})
        peer = wire.corrected()
        heard: list[Delivery] = []
        consume(peer, peer.channel(), heard)
        tag = next(iter(peer.client.channels[1].consumers))
        peer.receive(wire.deliver(1, tag, 5, b"x", properties))
        self.assertEqual(heard[0].properties, {"headers": {"trace": [1, None]}})

        old = wire.stock()
        old.channel()
        self.assertRaises(ValueError, old.receive, wire.deliver(1, "t", 5, b"x", properties))

    def test_a_header_that_nobody_can_read_spoils_only_itself(self) -> None:
        """The body is delivered; the properties fail where they are asked for."""
        peer = wire.corrected()
        heard: list[Delivery] = []
        consume(peer, peer.channel(), heard)
        tag = next(iter(peer.client.channels[1].consumers))
        peer.receive(wire.deliver(1, tag, 5, b"x", b"\x20\0\0\0\0\7\1k?"), wire.deliver(1, tag, 6, b"y"))
        self.assertEqual([one.body for one in heard], [b"x", b"y"])
        self.assertRaises(tables.TableError, lambda: heard[0].properties)
        self.assertFalse(peer.transport.aborted)

    def test_an_encoding_error_stops_the_writer(self) -> None:
        """What cannot be encoded fails its caller, and the next frame goes out."""
        peer = wire.corrected()
        channel = peer.channel()
        self.failureResultOf(channel.queue_declare(queue="q", arguments={"x": object()}))
        peer.transport.clear()
        _ = channel.queue_declare(queue="q")
        self.assertEqual([one.method.name for one in wire.sent(peer.transport)], ["declare"])

        old = wire.stock()
        channel = old.channel()
        _ = channel.basic_publish(
            exchange="", routing_key="q", content=Content("x", properties={"headers": {"x": -1.5}})
        )
        old.transport.clear()
        _ = channel.queue_declare(queue="q")
        self.assertEqual(old.transport.value(), b"")
        del old, channel
        self.forget_what_nobody_handles()

    def test_confirms_close_the_connection(self) -> None:
        """basic.ack and basic.nack have no handler there."""
        peer = wire.corrected()
        channel = peer.channel()
        first = channel.publish_confirmed("", "q", b"1", EMPTY)
        second = channel.publish_confirmed("", "q", b"2", EMPTY)
        third = channel.publish_confirmed("", "q", b"3", EMPTY)
        self.assertNoResult(first)
        peer.receive(wire.method(1, "basic.ack", 2, True))
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertNoResult(third)
        peer.receive(wire.method(1, "basic.nack", 3, False, False))
        self.failureResultOf(third, NotTaken)

        for name in ("basic.ack", "basic.nack"):
            old = wire.stock()
            old.channel()
            arguments = (1, False) if name == "basic.ack" else (1, False, False)
            old.receive(wire.method(1, name, *arguments))
            self.assertTrue(old.client.closed, name)

    def test_the_brokers_cancel_and_blocked_close_the_connection(self) -> None:
        """They are told to whom they concern."""
        told: list[str | None] = []
        peer = wire.corrected(blocked=told.append)
        channel = peer.channel()
        ended: list[bool] = []
        channel.consumers["t"] = (lambda delivery: None, lambda: ended.append(True))
        peer.receive(
            wire.method(1, "basic.cancel", "t", True),
            wire.method(0, "connection.blocked", "low on disk"),
            wire.method(0, "connection.unblocked"),
        )
        self.assertEqual(ended, [True])
        self.assertEqual(told, ["low on disk", None])
        self.assertFalse(peer.client.closed)

        for number, name, arguments in (
            (1, "basic.cancel", ("t", True)),
            (0, "connection.blocked", ("low on disk",)),
        ):
            old = wire.stock()
            old.channel()
            old.receive(wire.method(number, name, *arguments))
            self.assertTrue(old.client.closed, name)

    def test_no_capabilities_are_sent(self) -> None:
        """Without them the broker confirms nothing, cancels in silence and hides why a login failed."""
        told = []
        for client in (wire.corrected().client, wire.stock().client):
            transport = wire.Transport()
            client.transport = transport
            client.delegate.connection_start(client.channels[0], None)
            (start_ok,) = wire.sent(transport)
            told.append(start_ok.client_properties.get("capabilities", {}))
        self.assertTrue(told[0]["authentication_failure_close"] and told[0]["consumer_cancel_notify"])
        self.assertEqual(told[1], {})

    def test_consumers_of_a_closed_channel_hang(self) -> None:
        """They are told, and the channel's number can be used again."""
        peer = wire.corrected()
        channel = peer.channel()
        ended: list[Exception] = []
        channel.when_closed(ended.append)
        pending = channel.publish_confirmed("", "q", b"1", EMPTY)
        waiting = channel.queue_declare(queue="q")
        peer.receive(wire.method(1, "channel.close", 406, "PRECONDITION_FAILED", 50, 10))
        self.assertIsInstance(ended[0], ChannelClosed)
        self.assertEqual(ended[0].status, 406)  # type: ignore[attr-defined]
        self.failureResultOf(pending, ChannelClosed)
        self.failureResultOf(waiting, ChannelClosed)
        self.assertFalse(peer.channel(1).closed)

        old = wire.stock()
        channel = old.channel()
        got: list[Any] = []
        old.client.queue("t").addCallback(lambda queue: queue.get().addBoth(got.append))
        old.receive(wire.method(1, "channel.close", 406, "PRECONDITION_FAILED", 50, 10))
        self.assertEqual(got, [])
        self.assertIs(old.channel(1), channel)
        self.assertTrue(channel.closed)

    def test_no_wait_hangs(self) -> None:
        """The specification spells it with a hyphen."""
        self.successResultOf(wire.corrected().channel().queue_declare(queue="q", no_wait=True))
        self.assertNoResult(wire.stock().channel().queue_declare(queue="q", no_wait=True))

    def test_every_frame_moves_two_timers(self) -> None:
        """One timer looks at flags."""
        peer = wire.corrected(heartbeat=60)
        before = peer.clock.getDelayedCalls()
        self.assertEqual(len(before), 1)
        times = [call.getTime() for call in before]
        peer.clock.advance(1)
        peer.channel()
        self.assertEqual([call.getTime() for call in peer.clock.getDelayedCalls()], times)

        old = wire.stock(heartbeat=60)
        before = old.clock.getDelayedCalls()
        times = sorted(call.getTime() for call in before)
        old.clock.advance(1)
        old.channel()
        after = sorted(call.getTime() for call in old.clock.getDelayedCalls())
        self.assertEqual(len(after), 2)
        self.assertEqual([late - early for early, late in zip(times, after, strict=True)], [1, 1])

    def test_a_dead_peer_is_waited_for_at_the_end(self) -> None:
        """loseConnection waits for the unsent buffer, for ever; we break off."""
        peer = wire.corrected()
        closing = defer.Deferred.fromCoroutine(Session(peer.client).close(2))
        peer.clock.advance(3)
        self.successResultOf(closing)
        self.assertTrue(peer.transport.aborted)

        old = wire.stock()
        closing = old.client.close(within=2)
        old.clock.advance(3)
        self.assertTrue(old.transport.disconnecting)
        self.assertFalse(old.transport.aborted)
        del old, closing
        self.forget_what_nobody_handles()

    def test_the_protocol_header_asks_for_an_older_protocol(self) -> None:
        """The bytes that AMQP 0-9-1 wants."""
        peer = wire.Peer(
            Client("/", 0, wire.corrected().clock, lambda client: None, lambda reason: None), None
        )  # type: ignore[arg-type]
        peer.client.makeConnection(peer.transport)
        self.assertEqual(peer.transport.value(), b"AMQP\0\0\x09\x01")
        old = wire.stock()
        old.client.send_init_string()
        self.assertNotEqual(old.transport.value()[-8:], b"AMQP\0\0\x09\x01")


class ClientTests(SynchronousTestCase):
    """The corrected connection by itself."""

    def test_interfaces(self) -> None:
        """The narrow interface is what it says."""
        peer = wire.corrected()
        verifyObject(ISession, Session(peer.client))
        verifyObject(IChannel, BrokerChannel(peer.client, peer.channel()))

    def test_small_frames_are_not_held_back(self) -> None:
        """Nagle's algorithm and a delayed acknowledgement would make 40 ms of every other frame."""
        self.assertTrue(wire.corrected().transport.no_delay)

    def test_frames_may_come_in_any_pieces(self) -> None:
        """Byte by byte, or all at once."""
        for size in (1, 3, 10000):
            peer = wire.corrected()
            heard: list[Delivery] = []
            consume(peer, peer.channel(), heard)
            tag = next(iter(peer.client.channels[1].consumers))
            body = bytes(range(256)) * 4
            data = (
                wire.deliver(1, tag, 1, body, chunk=100)
                + wire.deliver(1, tag, 2, b"")
                + frames.HEARTBEAT_FRAME
            )
            for at in range(0, len(data), size):
                peer.receive(data[at : at + size])
            self.assertEqual([(one.tag, one.body) for one in heard], [(1, body), (2, b"")])

    def test_garbage_ends_the_connection(self) -> None:
        """A frame without its end, one of unknown method, one too large."""
        for data in (
            b"\1\0\0\0\0\0\4\0\x0a\0\x3c?",
            frames.frame(1, 0, b"\0\x63\0\x63"),
            frames.FRAME_HEAD.pack(3, 1, 10**6) + b"x" * 10,
        ):
            peer = wire.corrected()
            lost: list[Exception] = []
            Session(peer.client).when_lost(lost.append)
            peer.receive(data)
            self.assertTrue(peer.transport.aborted)
            self.assertIsInstance(lost[0], ConnectionLost)
        self.flushLoggedErrors()

    def test_a_consumer_that_raises_stops_nothing(self) -> None:
        """It is logged, and the next delivery comes."""
        peer = wire.corrected()
        channel = peer.channel()
        heard: list[bytes] = []

        def consumer(delivery: Delivery) -> None:
            heard.append(delivery.body)
            raise RuntimeError("one bad message")

        channel.consumers["t"] = (consumer, None)
        peer.receive(wire.deliver(1, "t", 1, b"a"), wire.deliver(1, "t", 2, b"b"))
        self.assertEqual(heard, [b"a", b"b"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_a_message_that_comes_back_fails_its_publish(self) -> None:
        """The right one of several, when its confirmation follows."""
        peer = wire.corrected()
        channel = peer.channel()
        fine, nowhere = (channel.publish_confirmed("", key, key.encode(), EMPTY) for key in ("a", "b"))
        peer.receive(
            wire.method(1, "basic.return", 312, "NO_ROUTE", "", "b"),
            wire.header(1, 1),
            frames.frame(frames.BODY, 1, b"b"),
            wire.method(1, "basic.ack", 2, True),
        )
        self.successResultOf(fine)
        self.failureResultOf(nowhere, NotRouted)

    def test_a_mandatory_message_that_comes_back_is_given_back(self) -> None:
        """With all that is needed to send it again."""
        peer = wire.corrected()
        narrow = BrokerChannel(peer.client, peer.channel())
        back: list[GivenBack] = []
        narrow.on_given_back(back.append)
        narrow.publish("", "r", b"b", EMPTY, mandatory=True)
        peer.receive(
            wire.method(1, "basic.return", 312, "NO_ROUTE", "", "r"),
            wire.header(1, 1),
            frames.frame(frames.BODY, 1, b"b"),
        )
        self.assertEqual(back, [GivenBack(312, "NO_ROUTE", "", "r", b"b")])

    def test_publish_splits_by_the_agreed_frame_size(self) -> None:
        """And what is written is what was meant."""
        data = frames.publish(1, "x", "k", b"z" * 25, EMPTY, mandatory=True, frame_max=18)
        sizes = []
        while data:
            kind, _, length = frames.FRAME_HEAD.unpack_from(data)
            if kind == frames.METHOD:
                message = frames.read_method(data[7 : 7 + length])
                self.assertEqual(message.fields, (0, "x", "k", True, False))
            elif kind == frames.BODY:
                sizes.append(length)
            data = data[8 + length :]
        self.assertEqual(sizes, [10, 10, 5])

    def test_acknowledgements_are_written_as_the_specification_has_them(self) -> None:
        """The frames packed by hand equal those packed by the book."""
        self.assertEqual(frames.settle(3, 80, 2**40), wire.method(3, "basic.ack", 2**40, False))
        self.assertEqual(frames.settle(3, 90, 7), wire.method(3, "basic.reject", 7, False))
        self.assertEqual(
            frames.read_deliver(wire.method(1, "basic.deliver", "tag", 9, True, "x", "é.k")[7:-1]),
            ("tag", 9, True, "x", "é.k"),
        )

    def test_properties_are_written_and_read(self) -> None:
        """As they were."""
        properties = {"content-type": "a/b", "headers": {"k": 1}, "delivery-mode": 2, "expiration": "50"}
        written = frames.write_properties(properties)
        self.assertEqual(frames.read_properties(wire.header(1, 0, written)[7:-1]), properties)
        self.assertRaises(ValueError, frames.write_properties, {"colour": "red"})

    def test_heartbeats_are_sent_and_missed(self) -> None:
        """Silence of two intervals breaks the connection off; any byte is a sign of life."""
        peer = wire.corrected(heartbeat=10)
        peer.clock.advance(5)
        peer.transport.clear()
        peer.clock.advance(5)
        self.assertEqual(peer.transport.value(), frames.HEARTBEAT_FRAME)
        peer.receive(frames.HEARTBEAT_FRAME)
        for _ in range(4):
            peer.clock.advance(5)
        self.assertFalse(peer.transport.aborted)
        peer.clock.advance(5)
        self.assertTrue(peer.transport.aborted)

    def test_a_lost_connection_ends_everything(self) -> None:
        """Each waiter is told, and no timer stays."""
        peer = wire.corrected(heartbeat=10)
        channel = peer.channel()
        waiting = channel.queue_declare(queue="q")
        lost: list[Exception] = []
        Session(peer.client).when_lost(lost.append)
        peer.client.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(waiting, ConnectionLost)
        self.failureResultOf(channel.queue_declare(queue="q"), BrokerError)
        self.assertEqual(len(lost), 1)
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_a_refused_login_says_why(self) -> None:
        """The broker's own text."""
        clock = Clock()
        peer = wire.Peer(Client("/", 0, clock, lambda client: None, lambda reason: None), clock)
        peer.client.makeConnection(peer.transport)
        login = defer.Deferred.fromCoroutine(Session(peer.client).log_in("u", "wrong"))
        peer.receive(wire.START, wire.method(0, "connection.close", 403, "ACCESS_REFUSED - no", 0, 0))
        self.assertIn("ACCESS_REFUSED", str(self.failureResultOf(login, LoginRefused).value))
