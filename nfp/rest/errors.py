"""How errors travel over HTTP: one table to status codes, one JSON shape, one request id.

Every error answer is ``{"error": {"code", "message", "field"}, "request_id"}``.  The caller sees the
code and safe text; the detail of an unexpected failure stays in the log, under the same request id.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from typing import Any

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect

from nfp.daemon.journal import request_id as current_request_id
from nfp.model.errors import (
    Conflict,
    Invalid,
    NfpError,
    NoSuchConfigurator,
    NotFound,
    Permanent,
    Transient,
    Unavailable,
    Waiting,
)

_log = Logger()

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
RETRY_AFTER = 1
"""Seconds that a caller is asked to wait after a 503."""


class TooLarge(Invalid):
    """The body is longer, or nested deeper, than this server takes."""

    code = "TooLarge"


class UnsupportedMediaType(Invalid):
    """The body is not of a type that is taken here."""

    code = "UnsupportedMediaType"


class Forbidden(NfpError):
    """The caller is known and may not do this."""

    code = "Forbidden"


class MethodNotSupported(NfpError):
    """The path exists, but not with this method."""

    code = "MethodNotAllowed"


STATUS: Mapping[type[NfpError], int] = {
    Invalid: 400,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    Forbidden: 403,
    NotFound: 404,
    NoSuchConfigurator: 404,
    MethodNotSupported: 405,
    Conflict: 409,
    Permanent: 422,
    Transient: 503,
    Unavailable: 503,
    Waiting: 503,
}
"""Error class to HTTP status; a class that is not here has its nearest parent's, in the end 500."""


def status_of(error: NfpError) -> int:
    """The HTTP status that stands for *error*."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def error_body(error: NfpError, request_id: str) -> dict[str, object]:
    """The JSON shape of *error*."""
    return {
        "error": {"code": error.code, "message": error.reason, "field": error.field},
        "request_id": request_id,
    }


def request_id_of(request: IRequest) -> str:
    """The request's id: the caller's when it sent a sane one, else a new one; the same at each call."""
    answered = request.responseHeaders.getRawHeaders(REQUEST_ID_HEADER)
    if answered:
        return str(answered[0])
    sent = request.requestHeaders.getRawHeaders(REQUEST_ID_HEADER) or [""]
    chosen = sent[0] if _REQUEST_ID.fullmatch(sent[0]) else f"req-{uuid.uuid4()}"
    request.setHeader(REQUEST_ID_HEADER.encode("ascii"), chosen.encode("ascii"))
    return chosen


def answer_error(request: IRequest, error: NfpError) -> bytes:
    """Set status and headers of *request* for *error* and give the body."""
    status = status_of(error)
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    if status == 503:
        request.setHeader(b"Retry-After", b"%d" % RETRY_AFTER)
    return json.dumps(error_body(error, request_id_of(request))).encode("ascii")


def answer_json(request: IRequest, value: object, status: int = 200) -> bytes:
    """Set status and content type of *request* for a JSON answer and give the body."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def install_errors(app: Klein) -> None:
    """Make a Klein application answer every error in our shape and carry request ids.

    Handlers run with :data:`nfp.daemon.journal.request_id` set; each answer repeats it as
    ``X-Request-ID``.  May be called before or after the routes are declared.

    :param app: the class's ``Klein()``.
    """
    # Klein copies itself per instance by calling its own class, and offers no hook around a
    # handler: becoming the subclass is what reaches those copies.
    app.__class__ = _TracedKlein
    handlers: Sequence[tuple[type[Exception], Any]] = (
        (NfpError, _known),
        (HTTPException, _routing),
        (Exception, _unexpected),
    )
    for kind, handler in handlers:
        app.handle_errors(kind)(handler)


class _TracedKlein(Klein):
    def execute_endpoint(self, endpoint: str, request: IRequest, *args: Any, **kwargs: Any) -> Any:
        return copy_context().run(self._traced, endpoint, request, *args, **kwargs)

    def _traced(self, endpoint: str, request: IRequest, *args: Any, **kwargs: Any) -> Any:
        current_request_id.set(request_id_of(request))
        return super().execute_endpoint(endpoint, request, *args, **kwargs)


def _arguments(*args: Any) -> tuple[IRequest, Failure]:
    """Klein calls a handler of a bound application with the instance in front."""
    request, failure = args[-2:]
    return request, failure


def _known(*args: Any) -> bytes:
    request, failure = _arguments(*args)
    return answer_error(request, failure.value)  # type: ignore[arg-type] # registered for NfpError


def _routing(*args: Any) -> bytes:
    request, failure = _arguments(*args)
    problem = failure.value
    if isinstance(problem, RequestRedirect):
        request.setResponseCode(problem.code)
        request.setHeader(b"Location", problem.new_url.encode("utf-8"))
        return b""
    if isinstance(problem, MethodNotAllowed):
        allowed = sorted(problem.valid_methods or ())
        request.setHeader(b"Allow", ", ".join(allowed).encode("ascii"))
        return answer_error(request, MethodNotSupported(f"use one of {', '.join(allowed)}"))
    return answer_error(request, NotFound("there is nothing at this path"))


def _unexpected(*args: Any) -> bytes:
    request, failure = _arguments(*args)
    request_id = request_id_of(request)
    _log.failure(
        "a request failed unexpectedly: {method} {path}",
        failure,
        method=request.method.decode("ascii", "replace"),
        path=request.path.decode("utf-8", "replace"),
        request_id=request_id,
    )
    return answer_error(request, NfpError("internal error; the log has it under this request id"))
