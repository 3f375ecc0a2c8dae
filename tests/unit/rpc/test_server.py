"""The server over a broker in memory."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nfp.daemon import journal
from nfp.model.errors import NotFound
from nfp.rpc import envelope
from nfp.rpc.amqp.errors import ChannelClosed
from nfp.rpc.amqp.interfaces import IChannel, ISession
from nfp.rpc.envelope import AnswerTo, Reply, Request
from nfp.rpc.errors import NoSuchMethod
from nfp.rpc.options import RpcOptions
from nfp.rpc.server import RpcServer
from tests.unit.rpc.memory import MemoryBroker, MemoryChannel, MemoryConnection, MemorySession
from tests.unit.rpc.test_envelope import capture

TOPIC = "topic"
REPLIES = "reply_x"


class ServerTests(SynchronousTestCase):
    """What a server does with what comes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker()
        self.seen: list[Request] = []
        self.results: dict[str, Any] = {}
        self.server = self.make()

    def make(self, options: RpcOptions | None = None, **arguments: Any) -> RpcServer:
        """A server that answers from ``self.results``."""
        self.connection = MemoryConnection(self.clock, self.broker, options)
        arguments = {"durable": True, "prefetch": 10, **arguments}
        return RpcServer(self.connection, TOPIC, "host", self.dispatch, **arguments)  # type: ignore[arg-type]

    async def dispatch(self, request: Request) -> object:
        self.seen.append(request)
        self.request_id = journal.request_id.get()
        if request.method not in self.results:
            raise NoSuchMethod(request.method)
        result = self.results[request.method]
        if isinstance(result, Exception):
            raise result
        if isinstance(result, defer.Deferred):
            return await result
        return result

    def start(self) -> None:
        """Serve, with somewhere for replies to go."""
        self.server.startService()
        self.session = self.connection.up()
        self.broker.queues[REPLIES] = deque()
        self.successResultOf(self.server.when_ready())

    def send(self, body: bytes, key: str = TOPIC) -> None:
        """A message comes."""
        self.broker.put("neutron", key, body, envelope.PROPERTIES)

    def request(self, method: str, *, call: bool = True, every: float | None = None, **more: Any) -> bytes:
        """A request as bytes."""
        answer_to = AnswerTo("msg", REPLIES, every) if call else None
        context = more.pop("context", {})
        return envelope.write_request(method, {"a": 1}, context=context, answer_to=answer_to, **more)

    def replies(self) -> list[Reply]:
        """What was answered since the last look."""
        found = [envelope.read_reply(body) for body in self.broker.messages(REPLIES)]
        self.broker.queues[REPLIES].clear()
        return found

    def unacknowledged(self) -> int:
        """How many messages the broker waits for."""
        return sum(len(channel.unacknowledged) for channel in self.session.channels)

    def test_fakes(self) -> None:
        """The broker in memory has the real one's interface."""
        verifyObject(ISession, MemorySession(self.broker))
        verifyObject(IChannel, MemoryChannel(self.broker))

    def test_declarations(self) -> None:
        """What oslo.messaging's servers declare, in their order and with their flags."""
        self.start()
        fanout = self.server._fanout_queue
        self.assertTrue(fanout.startswith("topic_fanout_"))
        self.assertEqual(
            self.broker.declared,
            [
                ("exchange", "neutron", "topic", False, False),
                ("queue", "topic", True, {}),
                ("queue", "topic.host", True, {}),
                ("exchange", "topic_fanout", "fanout", False, True),
                ("queue", fanout, False, {"x-expires": 1800000}),
            ],
        )
        self.assertEqual(
            self.broker.bindings,
            [
                ("topic", "neutron", "topic"),
                ("topic.host", "neutron", "topic.host"),
                (fanout, "topic_fanout", "topic"),
            ],
        )

    def test_declarations_with_quorum_queues(self) -> None:
        """The exchange is durable, and the queues are of that type."""
        options = RpcOptions(quorum=True, transient_quorum=True)
        self.server = self.make(options, durable=True)
        self.start()
        kind = {"x-queue-type": "quorum"}
        self.assertIn(("exchange", "neutron", "topic", True, False), self.broker.declared)
        self.assertIn(("queue", "topic", True, kind), self.broker.declared)
        self.assertIn(
            ("queue", self.server._fanout_queue, True, {"x-expires": 1800000, **kind}), self.broker.declared
        )

    def test_other_durability_is_taken_once(self) -> None:
        """An exchange or queue that is there with the other flag is used as it is."""
        self.broker.exchanges["neutron"] = ("topic", True, False)
        self.broker.flags[TOPIC] = (False, {})
        self.start()
        self.results["m"] = 1
        self.send(self.request("m"))
        self.assertEqual(self.replies()[0].result, 1)

    def test_other_flags_are_tried_again_later(self) -> None:
        """What cannot be had is said and tried again; nothing gives up."""
        self.broker.flags[TOPIC] = (True, {"x-max-length": 1})
        self.server.startService()
        self.connection.up()
        self.assertNoResult(self.server.when_ready())
        del self.broker.flags[TOPIC]
        self.clock.advance(1)
        self.successResultOf(self.server.when_ready())

    def test_a_call_is_acknowledged_and_answered_when_the_work_is_done(self) -> None:
        """Not before."""
        self.start()
        work = self.results["m"] = defer.Deferred()
        self.send(self.request("m"))
        self.assertEqual((self.unacknowledged(), self.replies(), self.server.in_flight), (1, [], 1))
        work.callback({"x": "é"})
        (reply,) = self.replies()
        self.assertEqual(
            (reply.msg_id, reply.result, reply.failure, reply.ending), ("msg", {"x": "é"}, None, True)
        )
        self.assertEqual((self.unacknowledged(), self.server.in_flight), (0, 0))

    def test_null_false_and_zero_are_results(self) -> None:
        """They travel."""
        self.start()
        for value in (None, False, 0, "", [], {}):
            self.results["m"] = value
            self.send(self.request("m"))
            (reply,) = self.replies()
            self.assertEqual((reply.result, type(reply.result), reply.failure), (value, type(value), None))

    def test_every_address(self) -> None:
        """The topic, the topic on this host, and the fanout."""
        self.start()
        self.results["m"] = None
        self.send(self.request("m", call=False))
        self.send(self.request("m", call=False), "topic.host")
        self.broker.put("topic_fanout", "", self.request("m", call=False), b"\0\0")
        self.assertEqual(len(self.seen), 3)
        self.assertEqual(self.unacknowledged(), 0)

    def test_errors_are_answers(self) -> None:
        """A cast's are only logged; both are acknowledged."""
        self.start()
        self.results["m"] = NotFound("no such thing")
        self.send(self.request("m"))
        self.send(self.request("m", call=False))
        (reply,) = self.replies()
        assert reply.failure is not None
        error = envelope.error_from(reply.failure)
        self.assertEqual((type(error), str(error)), (NotFound, "no such thing"))
        self.assertEqual(self.unacknowledged(), 0)

    def test_unexpected_errors_are_answers_too(self) -> None:
        """Their text stays in the log."""
        self.start()
        self.results["m"] = ZeroDivisionError("hush")
        self.send(self.request("m", context={"request_id": "req-1"}))
        (reply,) = self.replies()
        assert reply.failure is not None
        self.assertEqual(json.loads(reply.failure)["class"], "ZeroDivisionError")
        self.assertNotIn("hush", reply.failure)
        self.assertEqual(self.unacknowledged(), 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_result_that_is_no_json_is_a_failure(self) -> None:
        """Never silence."""
        self.start()
        for value in (object(), float("nan"), {1, 2}):
            self.results["m"] = value
            self.send(self.request("m"))
            (reply,) = self.replies()
            assert reply.failure is not None
            self.assertIn("JSON", reply.failure)
        self.flushLoggedErrors()
        self.assertEqual(self.unacknowledged(), 0)

    def test_methods_versions_and_namespaces_that_are_not_ours(self) -> None:
        """As oslo.messaging's own client sent them and its server answered."""
        self.start()
        self.results["get_network_function"] = None
        for number, kind in (
            ("26", "NoSuchMethod"),
            ("28", "UnsupportedVersion"),
            ("30", "UnsupportedVersion"),
        ):
            recorded = capture(number)
            queue = recorded["envelope_decoded"]["oslo.message"]["_reply_q"]
            self.broker.queues[queue] = deque()
            self.send(recorded["body_raw"].encode())
            reply = envelope.read_reply(self.broker.messages(queue)[-1])
            assert reply.failure is not None
            told = json.loads(reply.failure)
            self.assertEqual((told["class"], told["module"]), (kind, "oslo_messaging.rpc.dispatcher"))
        self.assertEqual([request.method for request in self.seen], ["no_such_method"])

    def test_versions(self) -> None:
        """The same major, and a minor not above ours."""
        self.server = self.make(version="1.3")
        self.start()
        self.results["m"] = None
        for version, fine in (
            ("1.0", True),
            ("1.3", True),
            ("1", True),
            ("1.4", False),
            ("2.0", False),
            ("x", False),
        ):
            self.send(self.request("m", version=version))
            self.assertEqual(self.replies()[0].failure is None, fine, version)

    def test_a_missing_version_is_1_0(self) -> None:
        """And everything but the method may be absent."""
        self.start()
        self.results["m"] = None
        self.send(envelope.wrap({"method": "m"}))
        self.assertEqual((self.seen[0].version, self.seen[0].args), ("1.0", {}))

    def test_what_is_no_request_is_rejected(self) -> None:
        """Once, and the next message is served."""
        self.start()
        self.results["m"] = 1
        for body in (b"", b"\xff\xfe", b"hello", b"[]", b'{"oslo.message": 1}', b"{" * 9999):
            self.send(body)
            self.assertEqual(self.broker.rejected[-1], body)
        self.send(self.request("m"))
        self.assertEqual(self.replies()[0].result, 1)
        self.assertEqual((len(self.seen), self.unacknowledged()), (1, 0))

    def test_who_sent_a_broken_call_is_told(self) -> None:
        """And the message is rejected all the same."""
        self.start()
        self.send(envelope.wrap({"method": 5, "_msg_id": "msg", "_reply_q": REPLIES}))
        (reply,) = self.replies()
        self.assertIsNotNone(reply.failure)
        self.assertEqual(len(self.broker.rejected), 1)

    def test_the_window(self) -> None:
        """No more than the prefetch count is in hand at a time."""
        self.server = self.make(prefetch=2)
        self.start()
        work = self.results["m"] = defer.Deferred()
        for _ in range(3):
            self.send(self.request("m", call=False))
        self.assertEqual(len(self.seen), 2)
        self.results["m"] = None
        work.callback(None)
        self.assertEqual(len(self.seen), 3)

    def test_signs_of_life(self) -> None:
        """Every half of what the caller asks, until the answer."""
        self.start()
        work = self.results["m"] = defer.Deferred()
        self.send(self.request("m", every=2))
        self.assertEqual(self.replies(), [])
        for _ in range(3):
            self.clock.advance(1)
            (reply,) = self.replies()
            self.assertEqual((reply.msg_id, reply.ending, reply.failure), ("msg", False, None))
        work.callback("done")
        (reply,) = self.replies()
        self.assertEqual((reply.result, reply.ending), ("done", True))
        self.clock.advance(10)
        self.assertEqual(self.replies(), [])

    def test_a_reply_waits_for_its_queue(self) -> None:
        """Every quarter of a second, for a minute."""
        self.start()
        self.results["m"] = "late"
        queue = self.broker.queues.pop(REPLIES)
        self.send(self.request("m"))
        self.clock.pump([0.25] * 8)
        self.broker.queues[REPLIES] = queue
        self.clock.advance(0.25)
        self.assertEqual([reply.result for reply in self.replies()], ["late"])
        self.clock.pump([0.25] * 8)
        self.assertEqual(self.replies(), [])

    def test_a_vanished_caller_is_given_up(self) -> None:
        """After a minute, with nothing left behind."""
        self.start()
        self.results["m"] = "lost"
        del self.broker.queues[REPLIES]
        self.send(self.request("m"))
        self.clock.pump([0.25] * 250)
        tries = len([one for one in self.broker.published if one[1] == REPLIES])
        self.assertEqual(tries, 241)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.server._replies._deadlines, {})

    def test_the_request_id_follows_the_work(self) -> None:
        """And does not leak into what comes after."""
        self.start()
        self.results["m"] = None
        self.send(self.request("m", context={"request_id": "req-7"}))
        self.assertEqual(self.request_id, "req-7")
        self.assertIsNone(journal.request_id.get())
        self.assertEqual(self.seen[0].context, {"request_id": "req-7"})

    def test_a_lost_connection_brings_unfinished_messages_again(self) -> None:
        """To the same server, which answers on the new channel only."""
        self.start()
        first = self.results["m"] = defer.Deferred()
        self.send(self.request("m"))
        self.connection.down()
        first.callback("first")
        self.assertEqual(self.replies(), [])
        self.results["m"] = "second"
        self.session = self.connection.up()
        self.assertEqual([reply.result for reply in self.replies()], ["second"])
        self.assertEqual(self.seen[0].unique_id, self.seen[1].unique_id)
        self.assertEqual(self.unacknowledged(), 0)

    def test_a_closed_channel_is_opened_again(self) -> None:
        """The connection stays as it is."""
        self.start()
        self.results["m"] = None
        self.broker.consumers[TOPIC][0].end(ChannelClosed("406 timeout", status=406))
        self.send(self.request("m"))
        self.assertEqual(self.seen, [])
        self.clock.advance(1)
        self.assertEqual(len(self.seen), 1)

    def test_a_cancelled_consumer_is_set_up_again(self) -> None:
        """The queue was deleted under it; it is declared again."""
        self.start()
        self.results["m"] = None
        _, _, cancelled = self.broker.consumers.pop(TOPIC)
        del self.broker.queues[TOPIC]
        cancelled()
        self.clock.advance(1)
        self.send(self.request("m"))
        self.assertEqual(len(self.seen), 1)

    def test_stopping_finishes_what_is_in_hand(self) -> None:
        """And takes nothing more."""
        self.start()
        work = self.results["m"] = defer.Deferred()
        self.send(self.request("m"))
        stopping = self.server.stopService()
        self.assertNoResult(stopping)
        self.send(self.request("m"))
        self.assertEqual(len(self.seen), 1)
        work.callback("done")
        self.successResultOf(stopping)
        self.assertEqual([reply.result for reply in self.replies()], ["done"])
        self.assertEqual(len(self.broker.queues[TOPIC]), 1)
        self.assertNotIn(self.server._fanout_queue, self.broker.queues)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_leaves_what_does_not_finish(self) -> None:
        """It stays unacknowledged, so that another server gets it."""
        self.server = self.make(patience=5)
        self.start()
        self.results["m"] = defer.Deferred()
        self.send(self.request("m"))
        stopping = self.server.stopService()
        self.clock.advance(4)
        self.assertNoResult(stopping)
        self.clock.advance(1)
        self.successResultOf(stopping)
        self.assertEqual(len(self.broker.queues[TOPIC]), 1)
        self.assertEqual(self.replies(), [])

    def test_stopping_without_a_connection(self) -> None:
        """Does not wait for one."""
        self.server.startService()
        self.successResultOf(self.server.stopService())
        self.start_again = self.connection.up()
        self.assertEqual(self.broker.declared, [])
