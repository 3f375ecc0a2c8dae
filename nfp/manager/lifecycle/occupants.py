"""Processes inside a network namespace: they end before it goes, or they would keep it alive."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

from nfp.model.errors import Transient
from nfp.netns import namespaces

_POLL_SECONDS = 0.02
_KILL_SECONDS = 5.0


def end_processes(namespace: str, patience: float) -> None:
    """End every process inside *namespace*: asked first, made to after *patience* seconds.

    A namespace that is not there has none.

    :raises Transient: one outlives even SIGKILL.
    """
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, _KILL_SECONDS)):
        if _ended(namespace, number, seconds):
            return
    left = ", ".join(str(pid) for pid in _inside(namespace))
    raise Transient(f"processes inside {namespace} do not end: {left}")


def _ended(namespace: str, number: signal.Signals, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    told: set[int] = set()
    pause = threading.Event()
    while True:
        inside = _inside(namespace)
        if not inside:
            return True
        for pid in set(inside) - told:
            told.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if time.monotonic() > deadline:
            return False
        pause.wait(_POLL_SECONDS)


def _inside(namespace: str) -> list[int]:
    try:
        return namespaces.processes_inside(namespace)
    except FileNotFoundError:
        return []
