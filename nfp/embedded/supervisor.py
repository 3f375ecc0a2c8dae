"""Keeps component processes running: started, seen ready, started again when they die.

A process says that it is ready as it would to systemd, on a datagram socket that is its own.  One
that dies before it has been ready for the first time is a failed start, and nobody tries again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from nfp.embedded.processes import Child, Command, end, spawn
from nfp.model.errors import Unavailable

LAST_LINES = 8
PROBE_SECONDS = 0.05


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a dead process is started again.  Times in seconds.

    :ivar first: after one death.
    :ivar limit: at most, however often it died.
    :ivar healthy: a process that lived this long has a clean record.
    """

    first: float = 0.2
    limit: float = 10.0
    healthy: float = 30.0

    def delay(self, deaths: int) -> float:
        """Seconds to wait after *deaths* deaths in a row."""
        return min(self.first * 2.0 ** min(deaths - 1, 32), self.limit)

    def deaths(self, before: int, lived: float) -> int:
        """Deaths in a row, now that it has died again after *lived* seconds."""
        return 1 if lived >= self.healthy else before + 1


class State(StrEnum):
    """What a kept process is doing."""

    IDLE = "idle"
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting to be started again"
    STOPPED = "stopped"


class _Notifications(DatagramProtocol):
    """Hears what systemd would hear."""

    noisy = False

    def __init__(self, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Take ``READY=1``; the rest is for systemd."""
        if b"READY=1" in datagram.split(b"\n"):
            self._on_ready()


class Keeper:
    """Keeps one process running.

    :param command: what to run; it is told its ``NOTIFY_SOCKET``.
    :param log_dir: where its output goes.
    :param run_dir: where its notification socket is.
    :param say: tells the operator, a sentence at a time.
    :param probe: asked, again and again, whether a process that cannot say so itself is ready; quick.
    """

    def __init__(
        self,
        reactor: Any,
        command: Command,
        log_dir: Path,
        run_dir: Path,
        say: Callable[[str], None],
        backoff: Backoff | None = None,
        probe: Callable[[], bool] | None = None,
    ) -> None:
        path = run_dir / f"notify-{command.name}.sock"
        self._reactor = reactor
        self._command = replace(command, environment={**command.environment, "NOTIFY_SOCKET": str(path)})
        self._socket = path
        self._log_dir = log_dir
        self._say = say
        self._backoff = backoff or Backoff()
        self._probe = probe
        self._listening: Any = None
        self._child: Child | None = None
        self._restart: Any = None
        self._deaths = 0
        self._started_at = 0.0
        self._first: Deferred[None] | None = None
        self.state = State.IDLE

    @property
    def name(self) -> str:
        """What the process is called."""
        return self._command.name

    @property
    def pid(self) -> int | None:
        """Id of the running process."""
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self) -> Deferred[None]:
        """Start it; fires when it is ready.

        :return: fails with :class:`~nfp.model.errors.Unavailable` if it ends before; cancelling
            it gives up the waiting, not the process.
        """
        self._socket.unlink(missing_ok=True)
        self._listening = self._reactor.listenUNIXDatagram(str(self._socket), _Notifications(self._on_ready))
        waiting: Deferred[None] = Deferred()
        self._first = waiting
        self._spawn()
        return waiting

    async def stop(self, patience: float) -> None:
        """End it, asked first, made to after *patience* seconds; it is not started again."""
        self.state = State.STOPPED
        if self._restart is not None and self._restart.active():
            self._restart.cancel()
        if self._child is not None:
            await end(self._reactor, self._child, patience)
        if self._listening is not None:
            listening, self._listening = self._listening, None
            await listening.stopListening()
            self._socket.unlink(missing_ok=True)

    def _spawn(self) -> None:
        self.state = State.STARTING
        self._started_at = self._reactor.seconds()
        self._child = spawn(self._reactor, self._command, self._log_dir)
        _ = self._child.ended.addCallback(self._on_end)
        if self._probe is not None:
            self._look(self._probe)

    def _look(self, probe: Callable[[], bool]) -> None:
        if self.state is not State.STARTING:
            return
        if probe():
            self._on_ready()
        else:
            self._reactor.callLater(PROBE_SECONDS, self._look, probe)

    def _on_ready(self) -> None:
        if self.state is not State.STARTING:
            return
        self.state = State.READY
        if self._deaths:
            self._say(f"{self.name} is back (process {self.pid})")
        first, self._first = self._first, None
        if first is not None:
            first.callback(None)

    def _on_end(self, reason: str) -> str:
        if self.state is State.STOPPED:
            return reason
        first, self._first = self._first, None
        if first is not None:
            self.state = State.STOPPED
            words = self._child.last_words.splitlines() if self._child is not None else []
            first.errback(
                Unavailable(
                    f"{self.name} ended before it was ready ({reason}); its last words, "
                    f"in {self._log_dir / self.name}.log:\n" + "\n".join(words[-LAST_LINES:])
                )
            )
            return reason
        self._deaths = self._backoff.deaths(self._deaths, self._reactor.seconds() - self._started_at)
        delay = self._backoff.delay(self._deaths)
        self.state = State.WAITING
        self._say(f"{self.name} died ({reason}); it is started again in {delay:g} s")
        self._restart = self._reactor.callLater(delay, self._spawn)
        return reason
