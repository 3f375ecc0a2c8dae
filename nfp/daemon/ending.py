"""How a process ends: told to, with status 0; unable to go on, with another."""

from __future__ import annotations

import os
import signal
from typing import Any


def exit_cleanly(reactor: Any) -> None:
    """Let SIGTERM and SIGINT stop the reactor and the process end with status 0.

    twistd would end it by the same signal once more, which a supervisor cannot tell from a kill.
    """
    # One turn later: at its start the reactor installs its own handlers.
    reactor.callWhenRunning(reactor.callLater, 0, _take_signals, reactor)


def _take_signals(reactor: Any) -> None:
    def stop(number: int, frame: object) -> None:
        reactor.callFromThread(_stop, reactor)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _stop(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()


def fail(reactor: Any, status: int = 1) -> None:
    """Stop the reactor and end the process with *status*: it could not start.

    :param status: the exit status, not 0.
    """
    reactor.addSystemEventTrigger("after", "shutdown", os._exit, status)
    reactor.callWhenRunning(_stop, reactor)
