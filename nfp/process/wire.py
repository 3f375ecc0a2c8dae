"""What runs between a listener and its workers: JSON messages, several to a frame.

A frame is a length in four bytes and a JSON array of messages; a message is an array that
begins with one of the codes below.  All that is sent in one turn of the reactor leaves in one
write.

Listener to worker: :data:`EVENT` id key name payload context; :data:`RUN` id key; :data:`PING`;
:data:`STOP`; and :data:`ANSWER` or :data:`FAILURE` to what the worker submitted.

Worker to listener: :data:`READY` {kind: suspect}; :data:`BROKEN` reason; :data:`ANSWER` id result;
:data:`FAILURE` id code message field; :data:`RAN` id outcome delay; :data:`WAKE` key;
:data:`SUBMIT` id key name payload context; :data:`EMIT` name payload; :data:`PONG`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from nfp.model.errors import Invalid, NfpError, by_code

EVENT, RUN, PING, STOP = "event", "run", "ping", "stop"
READY, BROKEN, RAN, WAKE, SUBMIT, EMIT, PONG = "ready", "broken", "ran", "wake", "submit", "emit", "pong"
ANSWER, FAILURE = "answer", "failure"

SETTLED, AGAIN, UNAVAILABLE, FAILED = "settled", "again", "unavailable", "failed"
"""Outcomes of a key's run."""

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of the largest message."""

BATCH = 256 * 1024
"""Bytes after which a frame is sent without waiting for the end of the turn."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().decode


def encode(*message: object) -> bytes:
    """Write one message.

    :raises Invalid: it holds something that JSON does not know, or is too large.
    """
    try:
        data = _encode(message).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"cannot be sent to a worker: {error}") from None
    if len(data) > MAX_MESSAGE:
        raise Invalid(f"larger than {MAX_MESSAGE} bytes")
    return data


def failure(identity: int, error: BaseException, log: Logger, what: str) -> bytes:
    """Write the :data:`FAILURE` that tells *error*.

    :param log: gets the traceback of an error that is not ours; the outside only learns that there is one.
    :param what: what was being done.
    """
    if isinstance(error, NfpError):
        return encode(FAILURE, identity, error.code, error.reason, error.field)
    log.failure("{what} failed", failure=Failure(error), what=what)
    return encode(FAILURE, identity, NfpError.code, f"{what} failed; the log says why", None)


def raise_failure(code: str, message: str, field: str | None) -> NoReturn:
    """Raise what a :data:`FAILURE` tells."""
    raise by_code(code, message, field)


class Wire(Int32StringReceiver):
    """One end of the connection.

    :param clock: tells the end of a turn.
    :param received: gets each message.
    :param lost: called once when the connection has ended.
    """

    MAX_LENGTH = MAX_MESSAGE + BATCH + 1024
    log = Logger()

    def __init__(
        self, clock: IReactorTime, received: Callable[[list[Any]], None], lost: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._received = received
        self._lost = lost
        self._waiting: list[bytes] = []
        self._size = 0
        self._scheduled = False

    def send(self, message: bytes) -> None:
        """Send what :func:`encode` wrote, in order, at the latest at the end of this turn."""
        self._waiting.append(message)
        self._size += len(message) + 1
        if self._size >= BATCH:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._end_of_turn)

    def _end_of_turn(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send now what is waiting."""
        if self._waiting and self.transport is not None:
            waiting, self._waiting, self._size = self._waiting, [], 0
            frame = b"[" + b",".join(waiting) + b"]"
            self.transport.write(len(frame).to_bytes(self.prefixLength, "big") + frame)

    def drop(self) -> None:
        """End the connection now."""
        if self.transport is not None:
            cast("Any", self.transport).abortConnection()

    def stringReceived(self, string: bytes) -> None:
        """Take a frame."""
        received = self._received
        for message in _decode(string.decode("ascii")):
            try:
                received(message)
            except Exception:  # noqa: BLE001 -- one message must not cost those behind it
                self.log.failure("cannot take a {code} message", code=message[0])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that no message comes any more."""
        self._waiting.clear()
        self._lost()
