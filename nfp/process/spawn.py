"""Starts a worker process and holds the listener's end of its connection.

The worker gets the connection as descriptor 3 and a pipe for its last words (the traceback of
a crash, written by ``faulthandler``) as descriptor 4; what it prints goes to standard error.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.python.failure import Failure

from nfp.daemon.journal import COMPONENT_VARIABLE
from nfp.process.wire import Wire

WIRE, LAST_WORDS = 3, 4
"""Descriptors in the worker."""

_MOST_LAST_WORDS = 16384
_LEFT_BEHIND = 2.0
"""Seconds that a dead worker's descriptors may stay open (held by what it left behind)."""

Received = Callable[[list[Any]], None]
Ended = Callable[[str], None]


class IChild(Protocol):
    """A running worker."""

    pid: int | None

    def send(self, message: bytes) -> None:
        """Send what :func:`nfp.process.wire.encode` wrote."""

    def abort(self) -> None:
        """Make it write its traceback and die; one that cannot is killed a second later."""

    def kill(self) -> None:
        """Kill it and all that it started."""


Spawn = Callable[[int, Received, Ended], IChild]
"""``spawn(index, received, ended)``: *ended* is called once, after the last message, with how it died."""


@dataclass(frozen=True)
class Spawner:
    """Starts real workers.

    :ivar group: the entry point group of the modules.
    :ivar reader: ``package.module:function`` that reads the configuration files into settings.
    :ivar files: the configuration files.
    :ivar modules: the modules to load; ``None``: all that are registered.
    :ivar component: what the worker's log lines are said to come from; its number is added.
    """

    reactor: Any
    group: str
    reader: str
    files: Sequence[str]
    modules: Sequence[str] | None = None
    component: str = "nfp"
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def __call__(self, index: int, received: Received, ended: Ended) -> IChild:
        """Start a worker."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs, open(os.devnull, "rb") as nothing:
            child = _Child(self.reactor, received, ended)
            self.reactor.spawnProcess(
                child,
                sys.executable,
                self._arguments(index),
                env={**self.environ, COMPONENT_VARIABLE: f"{self.component}/{index}"},
                childFDs={0: nothing.fileno(), 1: 2, 2: 2, WIRE: theirs.fileno(), LAST_WORDS: "r"},
            )
            ours.setblocking(False)
            self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, child)
        return child

    def _arguments(self, index: int) -> list[str]:
        arguments = [sys.executable, "-m", "nfp.process.child", f"--parent={os.getpid()}", f"--index={index}"]
        arguments += [f"--group={self.group}", f"--reader={self.reader}"]
        if self.modules is not None:
            arguments.append(f"--modules={','.join(self.modules)}")
        return [*arguments, *self.files]


class _Child(ProcessProtocol, Factory):
    """A worker process; ended when it has been reaped and the last of its messages was read."""

    noisy = False

    def __init__(self, reactor: Any, received: Received, ended: Ended) -> None:
        self._reactor = reactor
        self._ended = ended
        self._wire = Wire(reactor, received, self._wire_lost)
        self._wire_open = True
        self._last_words = b""
        self._why: str | None = None
        self.pid: int | None = None
        self._process: Any = None
        self._timers: list[IDelayedCall] = []

    def buildProtocol(self, address: object) -> Wire:
        """Give our end of the connection its protocol."""
        return self._wire

    def makeConnection(self, process: Any) -> None:
        """The process runs."""
        self.pid = process.pid
        self._process = process

    def send(self, message: bytes) -> None:
        """Send a message."""
        self._wire.send(message)

    def abort(self) -> None:
        """Make it tell where it is, and die."""
        self._signal(signal.SIGABRT)
        self._later(1.0, self.kill)

    def kill(self) -> None:
        """Kill it at once."""
        self._signal(signal.SIGKILL)

    def _later(self, seconds: float, function: Callable[[], object]) -> None:
        self._timers.append(self._reactor.callLater(seconds, function))

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessExitedAlready):
            self._process.signalProcess(number)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep the end of what faulthandler writes."""
        self._last_words = (self._last_words + data)[-_MOST_LAST_WORDS:]

    def processExited(self, reason: Failure) -> None:
        """It is dead; nothing that it started may live on."""
        if self.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._later(_LEFT_BEHIND, self._process.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        """It is dead and its pipe is read."""
        error: Any = reason.value
        why = f"signal {error.signal}" if error.signal else f"exit code {error.exitCode}"
        words = self._last_words.decode("utf-8", "replace").strip()
        self._why = f"{why}\n{words}" if words else why
        if self._wire_open:
            self._later(_LEFT_BEHIND, self._wire.drop)
        self._settle()

    def _wire_lost(self) -> None:
        self._wire_open = False
        if self._why is None:
            self.kill()  # a worker without its connection is of no use
        self._settle()

    def _settle(self) -> None:
        if self._why is not None and not self._wire_open:
            for timer in self._timers:
                if timer.active():
                    timer.cancel()
            self._ended(self._why)
