"""A client for JSON over HTTP with kept connections, deadlines, and errors of our own family."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from nfp.daemon.journal import request_id as current_request_id
from nfp.model.errors import NfpError, Permanent, Transient, by_code
from nfp.rest.dial import Dial
from nfp.rest.errors import REQUEST_ID_HEADER

TIMEOUT = 30.0
POOL_SIZE = 8
MAX_REQUESTS = 64
KEEP = 30.0
"""Seconds that an unused connection is kept; less than our servers and the proxy keep theirs, so
that a request rarely meets a connection that is being closed."""
MAX_ANSWER = 64 * 1024 * 1024

_UNREACHABLE = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    defer.TimeoutError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    PotentialDataLoss,
    SSL.Error,
    OSError,
)


class JsonClient:
    """Talks to one server.

    :param reactor: the way out, and the clock of every deadline.
    :param dial: how to reach the server.
    :param timeout: seconds that a request may take in all, unless it says otherwise.
    :param pool_size: connections kept for later.
    :param max_requests: requests under way at once; more wait in line, their deadline running.
    :param http: something with treq's ``request``, for tests in memory.
    """

    def __init__(
        self,
        reactor: Any,
        dial: Dial,
        *,
        timeout: float = TIMEOUT,
        pool_size: int = POOL_SIZE,
        max_requests: int = MAX_REQUESTS,
        http: Any = None,
    ) -> None:
        self._reactor = reactor
        self._base = dial.base
        self._timeout = timeout
        self._line = DeferredSemaphore(max_requests)
        self._pool: HTTPConnectionPool | None = None
        if http is None:
            self._pool = HTTPConnectionPool(reactor)
            self._pool.maxPersistentPerHost = pool_size
            self._pool.cachedConnectionTimeout = int(KEEP)
            agent = Agent.usingEndpointFactory(reactor, _Dialled(reactor, dial), self._pool)
            http = HTTPClient(agent, data_to_body_producer=WholeBody)
        self._http = http

    async def request(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        accept: Collection[int] = (),
    ) -> tuple[int, Any]:
        """Send a request and read the JSON answer.

        :param path: begins with ``/``.
        :param json: the body; ``None`` sends none.
        :param timeout: seconds for this request, waiting in line included.
        :param params: query parameters.
        :param accept: statuses from 400 on that are an answer here, not an error.
        :return: status and parsed answer; ``None`` for an empty one.
        :raises NfpError: rebuilt from the server's ``code``; its ``field`` is the server's.
        :raises Transient: the server was not reached, broke off, or took too long.
        :raises Permanent: an answer of another kind than ours.
        """
        seconds = self._timeout if timeout is None else timeout
        exchange = self._line.run(
            lambda: Deferred.fromCoroutine(self._exchange(method, path, json, headers, params))
        )
        _ = exchange.addTimeout(seconds, self._reactor, onTimeoutCancel=_late)
        try:
            status, kind, data = await exchange
        except defer.TimeoutError:
            raise Transient(f"{self._base} did not answer {method} {path} within {seconds:g} s") from None
        except _UNREACHABLE as problem:
            if _was_cancelled(problem):
                raise defer.CancelledError from None
            raise Transient(f"{self._base} cannot be reached: {_reason(problem)}") from problem
        if status < 400 or status in accept:
            return status, _parsed(data, kind, f"{self._base}{path}")
        raise _refusal(status, kind, data, f"{method} {self._base}{path}")

    async def _exchange(
        self,
        method: str,
        path: str,
        body: object,
        headers: Mapping[str, str] | None,
        params: Mapping[str, str | int] | None,
    ) -> tuple[int, str, bytes]:
        sent = {"Accept": "application/json", **(headers or {})}
        request_id = current_request_id.get()
        if request_id is not None:
            sent.setdefault(REQUEST_ID_HEADER, request_id)
        arguments: dict[str, Any] = {"headers": sent, "unbuffered": True}
        if params:
            arguments["params"] = {name: str(value) for name, value in params.items()}
        if body is not None:
            sent["Content-Type"] = "application/json"
            arguments["data"] = json.dumps(body, ensure_ascii=False).encode("utf-8")
        response = await self._http.request(method, f"{self._base}{path}", **arguments)
        collecting = _Body()
        response.deliverBody(collecting)
        data = await collecting.done
        kind = (response.headers.getRawHeaders("Content-Type") or [""])[0]
        return response.code, kind, data

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._pool is not None:
            await self._pool.closeCachedConnections()


@implementer(IBodyProducer)
class WholeBody:
    """A request's body, written at once.

    The one that treq makes of bytes raises out of ``pauseProducing`` when it has been read but not
    yet been sent as the connection is lost; then nobody is told of the loss and the request hangs.
    """

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write it."""
        consumer.write(self._data)
        return defer.succeed(None)

    def pauseProducing(self) -> None:
        """All is written."""

    def resumeProducing(self) -> None:
        """All is written."""

    def stopProducing(self) -> None:
        """All is written."""


@implementer(IAgentEndpointFactory)
class _Dialled:
    """Leads every URL to the one server."""

    def __init__(self, reactor: Any, dial: Dial) -> None:
        self._reactor = reactor
        self._dial = dial

    def endpointForURI(self, uri: object) -> Any:
        return self._dial.endpoint(self._reactor)


class _Body(Protocol):
    """Collects an answer's body, up to a limit; giving up on it closes the connection."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._pieces: list[bytes] = []
        self._size = 0
        self._aborted = False

    def _abort(self) -> None:
        self._aborted = True
        abort = getattr(self.transport, "abortConnection", None) or getattr(
            self.transport, "stopProducing", None
        )
        if abort is not None:
            abort()

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER and not self._aborted:
            self.done.errback(Permanent(f"the answer is longer than {MAX_ANSWER} bytes"))
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._aborted:
            return
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(reason)


def _parsed(data: bytes, kind: str, what: str) -> Any:
    if not data:
        return None
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Permanent(f"{what} answered {kind or 'without a type'}, not JSON")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Permanent(f"{what} answered broken JSON") from None


def _refusal(status: int, kind: str, data: bytes, what: str) -> NfpError:
    """The error that an answer stands for: ours by its code, a foreign one by its status."""
    try:
        told = _parsed(data, kind, what)["error"]
        return by_code(str(told["code"]), str(told["message"]), told.get("field"))
    except (Permanent, KeyError, TypeError, AttributeError):
        worth_a_try = status >= 500 or status in (408, 425, 429)
        return (Transient if worth_a_try else Permanent)(f"{what} was answered {status}")


def _late(outcome: object, seconds: float) -> NoReturn:
    """Whatever a request ends with once its time is up, it was late."""
    raise defer.TimeoutError(seconds)


def _was_cancelled(problem: BaseException) -> bool:
    """Whether it was the caller who gave up; the abort of the connection is then a reason too."""
    reasons = getattr(problem, "reasons", None) or ()
    return isinstance(problem, defer.CancelledError) or any(_was_cancelled(one.value) for one in reasons)


def _innermost(problem: BaseException) -> BaseException:
    """What lies under the wrappers that twisted.web puts around a failure."""
    reasons = getattr(problem, "reasons", None)
    return _innermost(reasons[-1].value) if reasons else problem


def _reason(problem: BaseException) -> str:
    """The innermost reason, in one line."""
    inner = _innermost(problem)
    return f"{type(inner).__name__}: {inner}" if str(inner) else type(inner).__name__
