"""What the functional tests of RPC stand on: our side, the other side, and the waiting."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet import defer, reactor, task  # noqa: TID251  a test's own
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import TestCase

from nfp.model.errors import NotFound
from nfp.rpc.client import RpcClient
from nfp.rpc.connection import RpcConnection
from nfp.rpc.envelope import Request
from nfp.rpc.errors import NoSuchMethod
from nfp.rpc.options import RpcOptions
from nfp.rpc.server import RpcServer
from tests.functional.broker import Broker, broker

DEADLINE = 30.0


class OsloPeer(ProcessProtocol):
    """Talks to ``peer.py``."""

    def __init__(self, url: str, exchange: str) -> None:
        self.ready: defer.Deferred[None] = defer.Deferred()
        self.ended: defer.Deferred[None] = defer.Deferred()
        self.asked: list[dict[str, Any]] = []
        self.errors = b""
        self._numbers = itertools.count()
        self._waiting: dict[int, defer.Deferred[dict[str, Any]]] = {}
        self._buffer = b""
        script = str(Path(__file__).with_name("peer.py"))
        reactor.spawnProcess(  # type: ignore[attr-defined]
            self, sys.executable, [sys.executable, "-W", "ignore", script, url, exchange], env=None
        )

    def do(self, do: str, **command: object) -> defer.Deferred[dict[str, Any]]:
        """Have a command done; gives its answer."""
        number = next(self._numbers)
        self._waiting[number] = answer = defer.Deferred()
        self.transport.write(json.dumps({"number": number, "do": do, **command}).encode() + b"\n")
        return answer.addTimeout(DEADLINE, reactor)

    async def stop(self) -> None:
        """End it."""
        self.transport.closeStdin()
        killing = reactor.callLater(5, self.transport.signalProcess, "KILL")  # type: ignore[attr-defined]
        await self.ended
        if killing.active():
            killing.cancel()

    def outReceived(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "ready" in told:
                self.ready.callback(None)
            elif "asked" in told:
                self.asked.append(told)
            else:
                self._waiting.pop(told["number"]).callback(told)

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: object) -> None:
        self.ended.callback(None)
        if not self.ready.called:
            self.ready.errback(RuntimeError(self.errors.decode()))


class StageCase(TestCase):
    """A connection to the broker, an exchange and a topic of its own."""

    timeout = 90

    def setUp(self) -> None:
        self.broker: Broker = broker()
        tag = uuid4().hex[:8]
        self.exchange = f"test-{tag}"
        self.topic = f"topic-{tag}"
        self.options = RpcOptions(exchange=self.exchange, longest_retry=1.0)
        self.connection = self.connect()
        self.client = RpcClient(self.connection)
        self.seen: list[Request] = []
        self.results: dict[str, Callable[[Request], Any]] = {
            "echo": lambda request: request.args,
            "nothing": lambda request: None,
            "missing": lambda request: _raise(NotFound("no such thing")),
            "crash": lambda request: _raise(ZeroDivisionError("hush")),
        }
        self.addCleanup(self.end, self.client.close)

    def connect(self, options: RpcOptions | None = None) -> RpcConnection:
        """A connection that ends with the test."""
        connection = RpcConnection(reactor, self.broker.url, options or self.options)
        connection.startService()
        self.addCleanup(connection.stopService)
        return connection

    def end(self, work: Callable[[], Any]) -> defer.Deferred[Any]:
        """A coroutine function as a clean-up."""
        return defer.Deferred.fromCoroutine(work())

    async def serve(self, **arguments: Any) -> RpcServer:
        """A server of the topic on host ``here``; it answers from ``results``."""
        arguments = {"durable": False, "prefetch": 50, **arguments}
        connection = arguments.pop("connection", self.connection)
        server = RpcServer(connection, self.topic, "here", self.dispatch, **arguments)
        server.startService()
        self.addCleanup(self.stopped, server)
        await server.when_ready()
        return server

    def stopped(self, server: RpcServer) -> object:
        """Stop a server unless the test did."""
        return server.stopService() if server.running else None

    async def dispatch(self, request: Request) -> object:
        """Answer from ``results``."""
        self.seen.append(request)
        if request.method not in self.results:
            raise NoSuchMethod(request.method)
        result = self.results[request.method](request)
        return await result if isinstance(result, Awaitable) else result

    async def peer(self) -> OsloPeer:
        """The other side."""
        peer = OsloPeer(self.broker.address, self.exchange)
        self.addCleanup(self.end, peer.stop)
        await peer.ready
        return peer

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition.

        :raises AssertionError: it does not come true in time.
        """
        end = reactor.seconds() + DEADLINE  # type: ignore[attr-defined]
        while not condition():
            if reactor.seconds() > end:  # type: ignore[attr-defined]
                raise AssertionError(f"never came true: {what}")
            await task.deferLater(reactor, 0.02)  # type: ignore[arg-type]


def _raise(error: Exception) -> object:
    raise error
