"""Our server and client with real oslo.messaging at the other end."""

from __future__ import annotations

from twisted.internet import defer, reactor, task  # noqa: TID251  a test's own

from nfp.rpc.errors import NoSuchMethod, RemoteError, RpcTimeout, Unroutable, UnsupportedVersion
from tests.functional.rpc.stage import StageCase


class OsloCallsUsTests(StageCase):
    """oslo.messaging's client, our server."""

    async def test_results(self) -> None:
        """Values of every kind, small and large, and our methods by topic and by server."""
        await self.serve()
        peer = await self.peer()
        for args in ({"a": 1, "é": "ü…"}, {"big": "é" * 500_000}, {"empty": [None, {}, False, 0]}):
            told = await peer.do("call", topic=self.topic, method="echo", args=args)
            self.assertEqual(told["result"], args)
        told = await peer.do("call", topic=self.topic, server="here", method="nothing", args={})
        self.assertIsNone(told["result"])

    async def test_casts_reach_every_address(self) -> None:
        """The topic, this server, and everybody; with their context."""
        await self.serve()
        peer = await self.peer()
        context = {"request_id": "req-1", "tenant": "t"}
        await peer.do("cast", topic=self.topic, method="echo", args={"n": 1}, context=context)
        await peer.do("cast", topic=self.topic, server="here", method="echo", args={"n": 2})
        await peer.do("fanout", topic=self.topic, method="echo", args={"n": 3})
        await self.until(lambda: len(self.seen) == 3, "three casts")
        self.assertEqual({request.args["n"] for request in self.seen}, {1, 2, 3})
        self.assertFalse(any(request.is_call for request in self.seen))
        first = next(request for request in self.seen if request.args["n"] == 1)
        self.assertEqual((first.request_id, first.context["tenant"]), ("req-1", "t"))

    async def test_errors(self) -> None:
        """oslo.messaging raises RemoteError with our code, or its own class where it has one."""
        await self.serve()
        peer = await self.peer()
        told = await peer.do("call", topic=self.topic, method="missing", args={})
        self.assertEqual((told["error"]["type"], told["error"]["text"]), ("NotFound", "no such thing"))
        told = await peer.do("call", topic=self.topic, method="crash", args={})
        self.assertEqual(told["error"]["class"], "ZeroDivisionError")
        self.assertNotIn("hush", str(told))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        told = await peer.do("call", topic=self.topic, method="unheard_of", args={})
        self.assertIn("Endpoint does not support RPC method unheard_of", told["error"]["text"])
        for strange in ({"version": "1.9"}, {"namespace": "other"}):
            told = await peer.do("call", topic=self.topic, method="echo", args={}, **strange)
            self.assertIn("Endpoint does not support RPC version", told["error"]["text"])

    async def test_a_monitored_call_is_kept_alive(self) -> None:
        """One that takes longer than the caller's monitor allows for silence."""
        self.results["slow"] = lambda request: task.deferLater(reactor, 3, lambda: "done")  # type: ignore[arg-type]
        await self.serve()
        peer = await self.peer()
        told = await peer.do("call", topic=self.topic, method="slow", args={}, monitor=1, timeout=20)
        self.assertEqual(told.get("result"), "done", told)

    async def test_two_servers_share_a_topic(self) -> None:
        """Each call goes to one, a fanout to both."""
        await self.serve()
        await self.serve(connection=self.connect())
        peer = await self.peer()
        for number in range(6):
            await peer.do("call", topic=self.topic, method="echo", args={"n": number})
        self.assertEqual(len(self.seen), 6)
        await peer.do("fanout", topic=self.topic, method="echo", args={"all": 1})
        await self.until(lambda: len(self.seen) == 8, "a fanout at both servers")


class WeCallOsloTests(StageCase):
    """Our client, oslo.messaging's server."""

    async def test_calls_and_casts(self) -> None:
        """By topic, by server, to all."""
        peer = await self.peer()
        await peer.do("serve", topic=self.topic, server="there")
        args = {"a": [1, None, "é"]}
        self.assertEqual(await self.client.call(self.topic, "echo", args), args)
        self.assertEqual(await self.client.call(self.topic, "echo", args, server="there"), args)
        self.assertIsNone(await self.client.call(self.topic, "nothing", {}))
        await self.client.cast(self.topic, "echo", {"kind": "cast"})
        await self.client.cast(self.topic, "echo", {"kind": "directed"}, server="there")
        await self.client.fanout(self.topic, "echo", {"kind": "fanout"})
        await self.until(lambda: len(peer.asked) == 5, "three casts")
        kinds = {one["args"].get("kind") for one in peer.asked}
        self.assertEqual(kinds, {None, "cast", "directed", "fanout"})

    async def test_errors(self) -> None:
        """What the other side raised."""
        peer = await self.peer()
        await peer.do("serve", topic=self.topic, server="there")
        error = await self.assertFailure(
            defer.ensureDeferred(self.client.call(self.topic, "fail", {"text": "bad"})), RemoteError
        )
        self.assertEqual((error.remote_type, str(error)), ("ValueError", "ValueError: bad"))
        await self.assertFailure(
            defer.ensureDeferred(self.client.call(self.topic, "unheard_of", {})), NoSuchMethod
        )
        await self.assertFailure(
            defer.ensureDeferred(self.client.call(self.topic, "echo", {}, version="1.9")), UnsupportedVersion
        )

    async def test_nobody_is_there(self) -> None:
        """A topic that nobody declared, and a server that does not exist."""
        for send in (self.client.call, self.client.cast):
            await self.assertFailure(
                defer.ensureDeferred(send(self.topic, "echo", {})),  # type: ignore[arg-type]
                Unroutable,
            )

    async def test_a_call_that_nobody_takes_expires(self) -> None:
        """The broker drops it when the caller has given up."""
        server = await self.serve(durable=True)
        await server.stopService()
        calling = defer.ensureDeferred(self.client.call(self.topic, "echo", {"n": 1}, timeout=0.5))
        await self.assertFailure(calling, RpcTimeout)
        await self.client.cast(self.topic, "echo", {"n": 2})
        await self.serve(durable=True)
        await self.until(lambda: self.seen, "the cast behind it")
        self.assertEqual([request.args for request in self.seen], [{"n": 2}])
