"""oslo.messaging's envelope: requests and replies, to JSON and back (``contract.md`` section 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import uuid4

from nfp.model.errors import NfpError, by_code
from nfp.rpc.amqp import frames
from nfp.rpc.errors import NoSuchMethod, RemoteError, UnsupportedVersion, WrongArguments

VERSION = "2.0"
OUR_MODULE = "nfp.model.errors"
DISPATCHER = "oslo_messaging.rpc.dispatcher"
CONTEXT = "_context_"

_FIXED = {
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {},
    "delivery-mode": 2,
    "priority": 0,
}
PROPERTIES = frames.write_properties(_FIXED)
"""Properties of a cast and of a reply."""


@lru_cache(maxsize=64)
def call_properties(milliseconds: int) -> bytes:
    """Properties of a call: with the time after which nobody wants it."""
    return frames.write_properties({**_FIXED, "expiration": str(max(1, milliseconds))})


class Malformed(Exception):
    """A message that is no request or reply.

    :ivar answer_to: where the reply goes if at least that much could be read.
    """

    def __init__(self, why: str, answer_to: AnswerTo | None = None) -> None:
        super().__init__(why)
        self.answer_to = answer_to


@dataclass(frozen=True, slots=True)
class AnswerTo:
    """Where and how a call is answered.

    :ivar every: seconds of the caller's ``call_monitor_timeout``: it wants to hear within each
        of these that we are still at work; ``None``: it does not.
    """

    msg_id: str
    queue: str
    every: float | None


@dataclass(frozen=True, slots=True)
class Request:
    """A method call as it came.

    :ivar context: the caller's request context, names without ``_context_``.
    :ivar unique_id: by which a repeat is recognised; ``None`` if the caller sent none.
    :ivar is_call: whether the caller waits for the result.
    :ivar timestamp: the context's ``timestamp``, where it has one.
    """

    method: str
    args: Mapping[str, object]
    version: str = "1.0"
    namespace: str | None = None
    context: Mapping[str, object] = field(default_factory=dict)
    unique_id: str | None = None
    is_call: bool = False
    timestamp: str | None = None

    @property
    def request_id(self) -> str | None:
        """The request id of the context."""
        value = self.context.get("request_id")
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came.

    :ivar ending: ``False`` for a sign of life.
    """

    msg_id: str
    result: object
    failure: str | None
    ending: bool


def wrap(message: Mapping[str, object]) -> bytes:
    """Put a message into the envelope.

    :raises ValueError: it holds what JSON cannot.
    :raises TypeError: the same.
    """
    inner = json.dumps(message, allow_nan=False)
    return json.dumps({"oslo.version": VERSION, "oslo.message": inner}).encode()


def unwrap(body: bytes) -> dict[str, object]:
    """Take a message out of the envelope.

    :raises Malformed: there is none in it.
    """
    try:
        outer = json.loads(body.decode())
        inner = json.loads(outer["oslo.message"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(f"not an oslo.messaging envelope: {type(error).__name__}") from None
    version = outer.get("oslo.version")
    if not isinstance(version, str) or version.partition(".")[0] != "2":
        raise Malformed(f"envelope version {version!r} is not ours")
    if not isinstance(inner, dict):
        raise Malformed("the message in the envelope is not an object")
    return inner


def read_request(body: bytes) -> tuple[Request, AnswerTo | None]:
    """Read a request.

    :raises Malformed: it is none; with ``answer_to`` if it says who waits.
    """
    message = unwrap(body)
    answer_to = _answer_to(message)
    method = message.get("method")
    args = message.get("args", {})
    version = message.get("version", "1.0")
    namespace = message.get("namespace")
    if not isinstance(method, str):
        raise Malformed("the request names no method", answer_to)
    if not isinstance(args, dict):
        raise Malformed("the request's args are not an object", answer_to)
    if not isinstance(version, str) or not isinstance(namespace, str | None):
        raise Malformed("the request's version or namespace is not a string", answer_to)
    context = {name[len(CONTEXT) :]: value for name, value in message.items() if name.startswith(CONTEXT)}
    unique_id = message.get("_unique_id")
    timestamp = context.get("timestamp")
    request = Request(
        method,
        args,
        version,
        namespace,
        context,
        unique_id if isinstance(unique_id, str) else None,
        answer_to is not None,
        timestamp if isinstance(timestamp, str) else None,
    )
    return request, answer_to


def _answer_to(message: Mapping[str, object]) -> AnswerTo | None:
    msg_id, queue, every = message.get("_msg_id"), message.get("_reply_q"), message.get("_timeout")
    if not isinstance(msg_id, str) or not isinstance(queue, str) or not queue:
        return None
    if isinstance(every, bool) or not isinstance(every, int | float) or every <= 0:
        every = None
    return AnswerTo(msg_id, queue, every)


def write_request(
    method: str,
    args: Mapping[str, object],
    *,
    context: Mapping[str, object],
    version: str = "1.0",
    answer_to: AnswerTo | None = None,
) -> bytes:
    """Write a request.

    :param answer_to: present for a call.
    :raises ValueError: an argument cannot be written as JSON.
    :raises TypeError: the same.
    """
    message: dict[str, object] = {"method": method, "args": args, "version": version}
    if answer_to is not None:
        message["_msg_id"] = answer_to.msg_id
        message["_reply_q"] = answer_to.queue
        message["_timeout"] = answer_to.every
    message["_unique_id"] = uuid4().hex
    message.update((CONTEXT + name, value) for name, value in context.items())
    return wrap(message)


def write_reply(
    msg_id: str, result: object = None, failure: Mapping[str, object] | None = None, *, ending: bool = True
) -> bytes:
    """Write a reply.

    :param failure: what :func:`failure_of` gave.
    :raises ValueError: the result cannot be written as JSON.
    :raises TypeError: the same.
    """
    return wrap(
        {
            "result": result,
            "failure": None if failure is None else json.dumps(failure),
            "ending": ending,
            "_msg_id": msg_id,
            "_unique_id": uuid4().hex,
        }
    )


def read_reply(body: bytes) -> Reply:
    """Read a reply.

    :raises Malformed: it is none.
    """
    message = unwrap(body)
    msg_id, failure = message.get("_msg_id"), message.get("failure")
    if not isinstance(msg_id, str):
        raise Malformed("the reply does not say to what")
    if failure is not None and not isinstance(failure, str):
        raise Malformed("the reply's failure is not a string")
    return Reply(msg_id, message.get("result"), failure, bool(message.get("ending", False)))


def failure_of(error: BaseException, request_id: str | None = None) -> dict[str, object]:
    """Say an error as oslo.messaging does.

    Our own errors go with their text.  Of any other only the class is told: its text may hold
    what the caller must not see, and is in the log under the request id.
    """
    if isinstance(error, NoSuchMethod | UnsupportedVersion):
        return _failure(error.code, DISPATCHER, str(error))
    if isinstance(error, WrongArguments):
        return _failure("TypeError", "builtins", str(error))
    if isinstance(error, RemoteError):
        return _failure(error.remote_type, error.module, error.reason)
    if isinstance(error, NfpError):
        return _failure(error.code, OUR_MODULE, str(error))
    kind = type(error)
    where = f" of request {request_id}" if request_id else ""
    return _failure(kind.__name__, kind.__module__, f"internal error; the log{where} has the detail")


def _failure(name: str, module: str, message: str) -> dict[str, object]:
    return {"class": name, "module": module, "message": message, "tb": [], "args": [], "kwargs": {}}


def error_from(failure: str) -> NfpError:
    """Rebuild the error in a reply's ``failure``.

    :return: an error of our family by its code; :class:`~nfp.rpc.errors.RemoteError` for any other.
    """
    try:
        told = json.loads(failure)
        name, module, message = str(told["class"]), str(told["module"]), str(told.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return RemoteError(failure[:200])
    if module == OUR_MODULE:
        return by_code(name, message)
    if module == DISPATCHER and name == NoSuchMethod.code:
        return NoSuchMethod(message)
    if module == DISPATCHER and name == UnsupportedVersion.code:
        return UnsupportedVersion(message)
    return RemoteError(message, remote_type=name, module=module)
