"""The journal: one JSON object a line on standard error, each with the request that it is about.

``twistd --logger nfp.daemon.journal.to_stderr`` writes lines of this form::

    {"time": "2024-05-01T10:00:00.123Z", "level": "info", "component": "nfp-manager",
     "logger": "nfp.manager.listener", "event": "took {method}", "text": "took get_plumbing_info",
     "request_id": "req-…", "method": "get_plumbing_info"}

``event`` is the constant format string, so that lines can be counted by it; ``text`` is there
only where it says more.  A failure adds ``error``, ``reason`` and ``traceback``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

request_id: ContextVar[str | None] = ContextVar("nfp_request_id", default=None)
"""The request that the running coroutine works for."""

COMPONENT_VARIABLE = "NFP_COMPONENT"

_NAMES = (
    "time",
    "level",
    "component",
    "logger",
    "event",
    "text",
    "request_id",
    "error",
    "reason",
    "traceback",
)
_TWISTED = frozenset(("isError", "failure", "why", "message", "time", "system", "format", "printed"))


@contextmanager
def bind(request: str | None) -> Iterator[None]:
    """Let all that is logged inside carry *request*; ``None`` keeps what is there."""
    if request is None:
        yield
        return
    token = request_id.set(request)
    try:
        yield
    finally:
        request_id.reset(token)


@implementer(ILogObserver)
class JsonObserver:
    """Writes each log event as one line of JSON.

    :param component: the name that every line bears.
    :param stream: where the lines go; flushed after each.
    """

    def __init__(self, component: str, stream: TextIO) -> None:
        self._component = component
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        """Write *event*."""
        self._stream.write(line(event, self._component) + "\n")
        self._stream.flush()


def observer(component: str, stream: TextIO) -> JsonObserver:
    """Make an observer that writes to *stream*."""
    return JsonObserver(component, stream)


def to_stderr() -> JsonObserver:
    """Make the observer of this process; what twistd's ``--logger`` wants.

    The component's name is ``$NFP_COMPONENT``, else the ``nfp-…`` sub-command of the command line.
    """
    return JsonObserver(_component(sys.argv, os.environ), sys.stderr)


def _component(argv: list[str], environ: Mapping[str, str]) -> str:
    named = environ.get(COMPONENT_VARIABLE) or next((a for a in argv if a.startswith("nfp-")), None)
    return named or Path(argv[0] if argv else "").name or "nfp"


def line(event: LogEvent, component: str) -> str:
    """Write *event* as JSON without a line break in it.

    ``json`` escapes every control character and everything beyond ASCII, so that no value
    that came from outside can begin a line of its own.
    """
    level = event.get("log_level")
    text = formatEvent(event)
    told = event.get("log_format")
    record: dict[str, object] = {
        "time": _time(event.get("log_time")),
        "level": getattr(level, "name", "info"),
        "component": component,
        "logger": event.get("log_namespace", ""),
        "event": told if told is not None else text,
    }
    if told is not None and text != told:
        record["text"] = text
    record["request_id"] = event.get("request_id") or request_id.get()
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        record["error"] = failure.type.__name__ if failure.type is not None else ""
        record["reason"] = _safe(failure.getErrorMessage)
        record["traceback"] = _safe(failure.getTraceback)
    for name, value in event.items():
        if name.startswith(("log_", "_")) or name == "request_id" or (told is None and name in _TWISTED):
            continue
        record[f"{name}_" if name in _NAMES else name] = value
    try:
        return json.dumps(record, default=_shown, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # a key that is no text, a circle, infinity
        return json.dumps({name: _plain(value) for name, value in record.items()})


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int) else _shown(value)


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: object) -> str:
    """Text of a value that JSON does not know; a :class:`~nfp.model.secret.Secret` gives its stars."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return _safe(lambda: str(value) if isinstance(value, BaseException) else repr(value))


def _safe(write: object) -> str:
    assert callable(write)
    try:
        return str(write())
    except Exception as error:  # noqa: BLE001 -- a broken __repr__ must not cost the line
        return f"<cannot be shown: {type(error).__name__}>"
