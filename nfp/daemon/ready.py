"""Tells whoever started this process that it is ready, stopping, alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send *state* to systemd's notification socket.

    :return: whether there is one.
    """
    path = environ.get("NOTIFY_SOCKET")
    if not path:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
        sending.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        sending.sendall(state.encode("utf-8"))
    return True


class Ready(Service):
    """Says READY when told to, STOPPING as it stops, WATCHDOG in between if systemd asks for it.

    Add it last to an :class:`~nfp.daemon.ordered.OrderedService`: then it stops first.

    :param reactor: the clock of the watchdog.
    :param file: a path that exists exactly while the process is ready; ``None``: no file.
    """

    name = "ready"

    def __init__(
        self, reactor: IReactorTime, file: str | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._file = Path(file) if file else None
        self._environ = environ
        self._watchdog = LoopingCall(notify, "WATCHDOG=1", environ)
        self._watchdog.clock = reactor

    def startService(self) -> None:
        """Take away what an earlier process left."""
        Service.startService(self)
        self._forget()

    def tell(self) -> None:
        """Be ready: listening, broker connected, schema checked."""
        if self._file:
            self._file.write_text(f"{os.getpid()}\n")
        notify("READY=1", self._environ)
        interval = int(self._environ.get("WATCHDOG_USEC") or 0) / 1e6 / 2
        if interval and not self._watchdog.running:
            _ = self._watchdog.start(interval)

    def stopService(self) -> None:
        """Be ready no more."""
        if self._watchdog.running:
            self._watchdog.stop()
        notify("STOPPING=1", self._environ)
        self._forget()
        Service.stopService(self)

    def _forget(self) -> None:
        if self._file:
            self._file.unlink(missing_ok=True)
