"""The client over a broker in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any

from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon import journal
from nfp.model.errors import NotFound
from nfp.rpc import envelope
from nfp.rpc.amqp.errors import BrokerError
from nfp.rpc.client import RpcClient
from nfp.rpc.errors import RemoteError, RpcTimeout, Unroutable
from tests.unit.rpc.memory import MemoryBroker, MemoryConnection, properties_of


class ClientTests(SynchronousTestCase):
    """What a client sends, and makes of what comes back."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker()
        self.connection = MemoryConnection(self.clock, self.broker)
        self.client = RpcClient(self.connection)  # type: ignore[arg-type]

    def up(self) -> None:
        """Connect; topic ``t`` and ``t.h`` are declared."""
        self.connection.up()
        for queue in ("t", "t.h"):
            self.broker.queues.setdefault(queue, deque())
            self.broker.bindings.append((queue, "neutron", queue))

    def begin(self, work: Coroutine[Any, Any, Any]) -> defer.Deferred[Any]:
        """Start a call."""
        return defer.Deferred.fromCoroutine(work)

    def requests(self, queue: str = "t") -> list[dict[str, Any]]:
        """Messages that reached a queue."""
        return [envelope.unwrap(body) for body in self.broker.messages(queue)]

    def answer(self, result: object = None, error: Exception | None = None, **more: Any) -> None:
        """Reply to the last request."""
        request = self.requests()[-1]
        failure = None if error is None else envelope.failure_of(error)
        body = envelope.write_reply(request["_msg_id"], result, failure, **more)
        self.broker.put("", request["_reply_q"], body, envelope.PROPERTIES)

    def test_a_call(self) -> None:
        """Goes with its expiration, and gives the result."""
        self.up()
        calling = self.begin(self.client.call("t", "m", {"a": 1}, timeout=2.5, context={"tenant": "x"}))
        (request,) = self.requests()
        self.assertEqual((request["method"], request["args"], request["version"]), ("m", {"a": 1}, "1.0"))
        self.assertEqual((request["_timeout"], request["_context_tenant"]), (None, "x"))
        self.assertEqual(properties_of(self.broker.published[-1][3])["expiration"], "2500")
        self.assertNoResult(calling)
        self.answer(ending=False)
        self.assertNoResult(calling)
        self.answer([1, None])
        self.assertEqual(self.successResultOf(calling), [1, None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_null_false_and_zero(self) -> None:
        """Are results."""
        self.up()
        for value in (None, False, 0):
            calling = self.begin(self.client.call("t", "m", {}))
            self.answer(value)
            result = self.successResultOf(calling)
            self.assertEqual((result, type(result)), (value, type(value)))

    def test_remote_errors(self) -> None:
        """Ours by their class, others as RemoteError."""
        self.up()
        for error, kind in ((NotFound("gone"), NotFound), (ValueError("x"), RemoteError)):
            calling = self.begin(self.client.call("t", "m", {}))
            self.answer(error=error)
            self.failureResultOf(calling, kind)

    def test_the_reply_queue(self) -> None:
        """As oslo.messaging has it, and gone when the client closes."""
        self.up()
        name = self.client._reply_queue
        self.assertIn(("queue", name, False, {"x-expires": 1800000}), self.broker.declared)
        self.successResultOf(self.begin(self.client.close()))
        self.assertNotIn(name, self.broker.queues)

    def test_one_server(self) -> None:
        """Is addressed by topic and host."""
        self.up()
        _ = self.begin(self.client.call("t", "m", {}, server="h"))
        self.successResultOf(self.begin(self.client.cast("t", "m", {}, server="h")))
        self.assertEqual((len(self.requests("t.h")), len(self.requests())), (2, 0))

    def test_timeout(self) -> None:
        """Says so; a reply that comes later is nobody's."""
        self.up()
        calling = self.begin(self.client.call("t", "m", {}, timeout=3))
        self.clock.advance(3)
        self.failureResultOf(calling, RpcTimeout)
        self.answer(1)
        self.assertEqual(self.client._calls, {})

    def test_nobody_serves_the_topic(self) -> None:
        """Said at once, of calls and casts."""
        self.up()
        self.failureResultOf(self.begin(self.client.call("nobody", "m", {})), Unroutable)
        self.failureResultOf(self.begin(self.client.cast("nobody", "m", {})), Unroutable)

    def test_before_there_is_a_connection(self) -> None:
        """Messages wait for it; a call expires with what is left of its time."""
        calling = self.begin(self.client.call("t", "m", {}, timeout=10))
        casting = self.begin(self.client.cast("t", "m", {}, timeout=10))
        self.clock.advance(4)
        for queue in ("t",):
            self.broker.queues[queue] = deque()
            self.broker.bindings.append((queue, "neutron", queue))
        self.connection.up()
        self.successResultOf(casting)
        expirations = [properties_of(one[3]).get("expiration") for one in self.broker.published]
        self.assertEqual(expirations, ["6000", None])
        self.clock.advance(6)
        self.failureResultOf(calling, RpcTimeout)

    def test_a_message_that_nobody_took_in_time_is_not_sent_later(self) -> None:
        """It failed already."""
        casting = self.begin(self.client.cast("t", "m", {}, timeout=1))
        self.clock.advance(1)
        self.failureResultOf(casting, RpcTimeout)
        self.up()
        self.assertEqual(self.broker.published, [])

    def test_a_call_is_sent_once_whatever_happens(self) -> None:
        """It waits for its reply over a reconnection."""
        self.up()
        self.broker.confirming = False
        calling = self.begin(self.client.call("t", "m", {}))
        self.connection.down()
        self.connection.up()
        self.assertEqual(len(self.requests()), 1)
        self.answer("late")
        self.assertEqual(self.successResultOf(calling), "late")

    def test_an_unconfirmed_cast_is_sent_again_as_the_same(self) -> None:
        """With the same unique id, until it is confirmed."""
        self.up()
        self.broker.confirming = False
        casting = self.begin(self.client.cast("t", "m", {}))
        self.connection.down()
        self.assertNoResult(casting)
        self.broker.confirming = True
        self.connection.up()
        self.successResultOf(casting)
        first, second = self.requests()
        self.assertEqual(first, second)
        self.connection.down()
        self.connection.up()
        self.assertEqual(len(self.requests()), 2)

    def test_right_after_a_reconnection_servers_may_still_be_on_their_way(self) -> None:
        """An unroutable message is tried again for some seconds, then given up."""
        self.up()
        self.connection.down()
        del self.broker.queues["t"]
        self.connection.up()
        calling = self.begin(self.client.call("t", "m", {}))
        casting = self.begin(self.client.cast("t", "m", {}))
        lost = self.begin(self.client.cast("nobody", "m", {}))
        self.clock.advance(0.5)
        self.assertNoResult(casting)
        self.broker.queues["t"] = deque()
        self.clock.advance(0.5)
        self.successResultOf(casting)
        self.assertEqual(len(self.requests()), 2)
        body = envelope.write_reply(self.requests()[0]["_msg_id"], "done")
        self.broker.put("", self.client._reply_queue, body, envelope.PROPERTIES)
        self.assertEqual(self.successResultOf(calling), "done")
        self.clock.pump([0.5] * 20)
        self.failureResultOf(lost, Unroutable)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_foreign_reply_is_refused(self) -> None:
        """And the next one is taken."""
        self.up()
        calling = self.begin(self.client.call("t", "m", {}))
        self.broker.put("", self.client._reply_queue, b"\xff", b"\0\0")
        self.broker.put("", self.client._reply_queue, envelope.write_reply("other", 1), b"\0\0")
        self.answer(2)
        self.assertEqual(self.successResultOf(calling), 2)
        self.assertEqual(self.broker.rejected, [b"\xff"])

    def test_fanout(self) -> None:
        """To whoever listens; nobody is fine; without a connection it fails."""
        self.failureResultOf(self.begin(self.client.fanout("t", "m", {})), BrokerError)
        self.up()
        self.successResultOf(self.begin(self.client.fanout("t", "m", {})))
        self.assertIn(("exchange", "t_fanout", "fanout", False, True), self.broker.declared)
        self.assertEqual(self.broker.published[-1][:2], ("t_fanout", ""))

    def test_arguments_that_are_no_json(self) -> None:
        """Fail the caller; nothing is sent."""
        self.up()
        self.failureResultOf(self.begin(self.client.call("t", "m", {"a": object()})), TypeError)
        self.assertEqual(self.broker.published, [])

    def test_the_request_id_goes_along(self) -> None:
        """Unless the context has its own."""
        self.up()
        with journal.bind("req-5"):
            self.successResultOf(self.begin(self.client.cast("t", "m", {})))
            self.successResultOf(self.begin(self.client.cast("t", "m", {}, context={"request_id": "mine"})))
        self.assertEqual([one["_context_request_id"] for one in self.requests()], ["req-5", "mine"])

    def test_closing_fails_what_waits(self) -> None:
        """Nobody waits for ever."""
        self.up()
        calling = self.begin(self.client.call("t", "m", {}))
        self.successResultOf(self.begin(self.client.close()))
        self.failureResultOf(calling, BrokerError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
