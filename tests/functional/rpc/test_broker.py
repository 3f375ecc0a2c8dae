"""Our server and client with a real broker that restarts, and messages from strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet import defer, reactor, task, threads  # noqa: TID251  a test's own

from nfp.model.secret import Secret
from nfp.rpc import envelope
from nfp.rpc.amqp import frames
from nfp.rpc.amqp.interfaces import Delivery, IChannel
from nfp.rpc.amqp.tables import Timestamp
from nfp.rpc.connection import RpcConnection
from nfp.rpc.errors import RpcTimeout, Unroutable
from nfp.rpc.options import RpcOptions
from nfp.rpc.url import BrokerURL
from tests.functional.rpc.stage import StageCase

CAPTURES = Path(__file__).resolve().parents[2] / "data" / "captures"


class StrangersTests(StageCase):
    """What a broken or foreign publisher may send."""

    async def open(self) -> IChannel:
        """A channel to send anything by."""
        await self.connection.when_connected()
        assert self.connection.session is not None
        return await self.connection.session.open_channel()

    async def test_bad_bodies_are_refused_once(self) -> None:
        """And the message behind each is served."""
        await self.serve()
        channel = await self.open()
        for body in (b"", b"not JSON", b"\xff\xfe\0", b'{"a": 1}', b"[1]", b"x" * 1_000_000):
            channel.publish(self.exchange, self.topic, body, envelope.PROPERTIES)
            self.assertEqual(await self.client.call(self.topic, "echo", {"n": 1}), {"n": 1})
        self.assertEqual(len(self.seen), 6)
        await channel.close()

    async def test_foreign_headers(self) -> None:
        """Tables, lists, times, nulls, numbers of any size: the message is served."""
        await self.serve()
        headers = {
            "trace": [1, [2, {"deep": None}]],
            "when": Timestamp(1700000000),
            "flag": True,
            "size": 2**40,
            "low": -5,
            "ratio": 0.25,
            "raw": b"\0\xff",
        }
        properties = frames.write_properties({"headers": headers, "app-id": "é", "timestamp": 5})
        channel = await self.open()
        body = envelope.write_request("echo", {"n": 1}, context={})
        channel.publish(self.exchange, self.topic, body, properties)
        await self.until(lambda: self.seen, "the message")
        heard: list[Delivery] = []
        queue = f"test-{uuid4().hex}"
        await channel.declare_queue(queue, durable=False)
        await channel.consume(queue, heard.append)
        channel.publish("", queue, b"x", properties)
        await self.until(lambda: heard, "the headers")
        self.assertEqual(heard[0].properties["headers"], headers)
        await channel.delete_queue(queue)
        await channel.close()

    async def test_recorded_messages(self) -> None:
        """What oslo.messaging sent elsewhere, byte for byte; each call is answered to its own queue."""
        self.results["get_network_function"] = lambda request: None
        self.results["create_network_function"] = lambda request: None
        await self.serve()
        channel = await self.open()
        replies: list[envelope.Reply] = []
        calls = set()
        for path in sorted(CAPTURES.glob("*.json")):
            recorded: dict[str, Any] = json.loads(path.read_text())
            inner = recorded["envelope_decoded"]["oslo.message"]
            if "method" not in inner:
                continue
            if "_reply_q" in inner:
                queue = inner["_reply_q"]
                if not calls:
                    await channel.declare_queue(queue, durable=False)
                    await channel.consume(queue, lambda one: replies.append(envelope.read_reply(one.body)))
                calls.add(inner["_msg_id"])
            properties = {name.replace("_", "-"): value for name, value in recorded["properties"].items()}
            channel.publish(
                self.exchange,
                self.topic,
                recorded["body_raw"].encode(),
                frames.write_properties(properties),
            )
        await self.until(lambda: {one.msg_id for one in replies if one.ending} == calls, "every answer")
        self.assertGreater(len(calls), 5)
        await channel.delete_queue(queue)
        await channel.close()

    async def test_a_vanished_caller(self) -> None:
        """Its reply waits for its queue while others are served."""
        await self.serve()
        channel = await self.open()
        queue = f"reply_{uuid4().hex}"
        answer_to = envelope.AnswerTo("msg", queue, None)
        body = envelope.write_request("echo", {"n": 1}, context={}, answer_to=answer_to)
        channel.publish(self.exchange, self.topic, body, envelope.PROPERTIES)
        await self.until(lambda: self.seen, "the call")
        self.assertEqual(await self.client.call(self.topic, "echo", {"n": 2}), {"n": 2})
        heard: list[Delivery] = []
        await channel.declare_queue(queue, durable=False)
        await channel.consume(queue, heard.append)
        await self.until(lambda: heard, "the reply")
        self.assertEqual(envelope.read_reply(heard[0].body).result, {"n": 1})
        await channel.delete_queue(queue)
        await channel.close()

    async def test_a_topic_that_is_there_with_other_flags(self) -> None:
        """A durable exchange and queue where we would declare transient ones."""
        channel = await self.open()
        exchange, self.topic = f"test-{uuid4().hex}", f"topic-{uuid4().hex}"
        await channel.declare_exchange(exchange, "topic", durable=True)
        await channel.declare_queue(self.topic, durable=True)
        connection = self.connect(RpcOptions(exchange=exchange))
        await self.serve(connection=connection, durable=False)
        body = envelope.write_request("echo", {"n": 1}, context={})
        channel.publish(exchange, self.topic, body, envelope.PROPERTIES)
        await self.until(lambda: self.seen, "the message")
        await channel.delete_queue(self.topic)
        await channel.close()

    async def test_a_deleted_queue_is_declared_again(self) -> None:
        """The consumer is cancelled by the broker, and comes back."""
        await self.serve()
        channel = await self.open()
        await channel.delete_queue(self.topic)

        async def served() -> bool:
            try:
                return await self.client.call(self.topic, "echo", {"n": 1}, timeout=2) == {"n": 1}
            except (Unroutable, RpcTimeout):
                await task.deferLater(reactor, 0.1)  # type: ignore[arg-type]
                return False

        while not await served():
            pass
        await channel.close()


class RestartTests(StageCase):
    """The broker goes and comes back."""

    async def test_work_in_hand_is_kept(self) -> None:
        """Casts that were unacknowledged or still queued come again; a call in flight is answered."""
        hold: defer.Deferred[None] = defer.Deferred()

        async def wait(request: envelope.Request) -> object:
            await hold
            return request.args

        self.results["wait"] = wait
        server = await self.serve(durable=True, prefetch=3)
        for number in range(6):
            await self.client.cast(self.topic, "wait", {"n": number})
        calling = defer.ensureDeferred(self.client.call(self.topic, "wait", {"n": "call"}, server="here"))
        await self.until(lambda: len(self.seen) == 4, "three casts and the call in hand")
        await threads.deferToThread(self.broker.stop)
        await self.until(lambda: self.connection.session is None, "the loss")
        held = defer.ensureDeferred(self.client.cast(self.topic, "echo", {"n": "while away"}))
        hold.callback(None)
        await threads.deferToThread(self.broker.start)
        await server.when_ready()
        self.assertEqual(await calling, {"n": "call"})
        await held
        await self.until(lambda: len(self.seen) >= 4 + 4 + 3 + 1, "everything again")
        self.assertEqual({str(request.args["n"]) for request in self.seen}, {*"012345", "call", "while away"})

    async def test_a_crash_of_the_broker(self) -> None:
        """Durable messages that were confirmed are there afterwards."""
        server = await self.serve(durable=True)
        await server.stopService()
        for number in range(20):
            await self.client.cast(self.topic, "echo", {"n": number})
        await threads.deferToThread(self.broker.kill)
        await threads.deferToThread(self.broker.start)
        await self.serve(durable=True)
        await self.until(lambda: len(self.seen) >= 20, "all of them")
        self.assertEqual([request.args["n"] for request in self.seen], list(range(20)))

    async def test_a_refused_login_is_tried_again(self) -> None:
        """And does not end in a loop without pause."""
        url = BrokerURL(self.broker.url.hosts, "guest", Secret("wrong"), "/")
        connection = RpcConnection(reactor, url, RpcOptions())
        connection.startService()
        await self.until(lambda: connection._attempts >= 2, "two refusals")
        self.assertIsNone(connection.session)
        await connection.stopService()
