"""Child processes of ``nfp up``: started on a leash, logged to a file, ended with patience."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from nfp.embedded.leash import leashed

_KEPT_BYTES = 4096


@dataclass(frozen=True)
class Command:
    """What to run.

    :ivar name: what the log file and the messages call it.
    :ivar argv: the program and its arguments; no shell.
    :ivar namespace: network namespace to run in; ``None`` is the host's.
    :ivar environment: added to ours.
    """

    name: str
    argv: tuple[str, ...]
    namespace: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Child(ProcessProtocol):
    """One running process.

    :ivar ended: fires with the reason, a sentence, when the process is no more.
    :param log: where its output goes, byte for byte.
    """

    def __init__(self, name: str, log: BinaryIO) -> None:
        self.name = name
        self.ended: Deferred[str] = Deferred()
        self.running = True
        self._log = log
        self._tail = b""

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return getattr(self.transport, "pid", None)

    @property
    def last_words(self) -> str:
        """The end of what it wrote."""
        return self._tail.decode("utf-8", "backslashreplace").strip()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep what it says."""
        self._log.write(data)
        self._tail = (self._tail + data)[-_KEPT_BYTES:]

    def processEnded(self, reason: Failure) -> None:
        """Tell whoever waits."""
        self.running = False
        self._log.close()
        self.ended.callback(_said(reason.value))

    def signal(self, name: str) -> None:
        """Send a signal; a process that is gone already takes it well."""
        with suppress(error.ProcessExitedAlready):
            self.transport.signalProcess(name)  # type: ignore[union-attr]


def _said(ending: object) -> str:
    if isinstance(ending, error.ProcessTerminated):
        if ending.signal is not None:
            return f"killed by signal {ending.signal}"
        return f"exit status {ending.exitCode}"
    return "exit status 0"


def spawn(reactor: Any, command: Command, log_dir: Path) -> Child:
    """Start *command* on the leash, its output appended to ``<log_dir>/<name>.log``."""
    log_dir.mkdir(parents=True, exist_ok=True)
    child = Child(command.name, open(log_dir / f"{command.name}.log", "ab", buffering=0))  # noqa: SIM115
    argv = leashed(os.getpid(), command.argv, command.namespace)
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    reactor.spawnProcess(child, argv[0], argv, env={**environment, **command.environment}, path="/")
    return child


async def end(reactor: Any, child: Child, patience: float) -> None:
    """Ask *child* to stop, and after *patience* seconds make it.

    May be called for a child that has ended already.
    """
    killing = None
    if child.running:
        child.signal("TERM")
        killing = reactor.callLater(patience, child.signal, "KILL")
    await when_ended(child)
    if killing is not None and killing.active():
        killing.cancel()


def when_ended(child: Child) -> Deferred[str]:
    """Wait for *child* to end; each caller gets a Deferred of its own."""
    waiting: Deferred[str] = Deferred()

    def pass_on(reason: str) -> str:
        if not waiting.called:
            waiting.callback(reason)
        return reason

    _ = child.ended.addCallback(pass_on)
    return waiting


def python(*arguments: str) -> tuple[str, ...]:
    """The command that runs *arguments* by our own interpreter."""
    return (sys.executable, *arguments)
