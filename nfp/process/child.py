"""A worker process: ``python -m nfp.process.child``, started by :mod:`nfp.process.spawn`.

It ends when told to, when its connection closes, and with its parent, however that dies.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger, globalLogBeginner

from nfp.daemon import journal
from nfp.process import wire
from nfp.process.registry import RegistryError, load_modules
from nfp.process.runner import Runner
from nfp.process.spawn import LAST_WORDS, WIRE

_PR_SET_PDEATHSIG = 1


class Worker(Factory):
    """The process as a whole.

    :param reactor: runs it, and is stopped at its end.
    :param options: the command line.
    """

    noisy = False
    log = Logger()

    def __init__(self, reactor: Any, options: argparse.Namespace) -> None:
        self._reactor = reactor
        self._options = options
        self._wire = wire.Wire(reactor, self._received, self._lost)
        self._runner = Runner(options.index, reactor, self._wire.send)
        self._ending = False

    def buildProtocol(self, address: object) -> wire.Wire:
        """Give the connection its protocol."""
        return self._wire

    def start(self) -> None:
        """Connect and load the modules."""
        self._reactor.adoptStreamConnection(WIRE, socket.AF_UNIX, self)
        os.close(WIRE)  # the reactor has its own copy, which no child of ours inherits
        _ = Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        options = self._options
        try:
            settings = _named(options.reader)(options.files)
            wanted = None if options.modules is None else [m for m in options.modules.split(",") if m]
            await self._runner.start(load_modules(options.group, settings, wanted))
        except Exception as error:  # noqa: BLE001 -- told to the listener, which decides
            self.log.failure("cannot start")
            reason = str(error) if isinstance(error, RegistryError) else f"{type(error).__name__}: {error}"
            self._wire.send(wire.encode(wire.BROKEN, reason))
            self._end()

    def _received(self, message: list[Any]) -> None:
        if message[0] == wire.STOP:
            _ = Deferred.fromCoroutine(self._stop())
        else:
            self._runner.received(message)

    async def _stop(self) -> None:
        await self._runner.stop()
        self._end()

    def _end(self) -> None:
        self._ending = True
        self._wire.flush()
        if self._wire.transport is not None:
            self._wire.transport.loseConnection()

    def _lost(self) -> None:
        if self._ending:
            self._reactor.stop()
            return
        self.log.error("the listener is gone; so is this worker")
        os.killpg(0, signal.SIGKILL)  # with all that it started


def _named(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def bind_to(parent: int) -> None:
    """Die when *parent* does, and be the head of a process group that can be killed as one."""
    os.setpgid(0, 0)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the listener is gone already")


def _outlive_signals() -> None:
    """Leave SIGTERM and SIGINT to the listener: a service manager sends them to every process at once.

    A handler, not SIG_IGN: that would be inherited by what modules start.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: None)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nfp.process.child")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--reader", required=True)
    parser.add_argument("--modules")
    parser.add_argument("files", nargs="*")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Be a worker until the end."""
    options = _options(argv)
    bind_to(options.parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(LAST_WORDS, False)
    faulthandler.enable(LAST_WORDS)
    globalLogBeginner.beginLoggingTo([journal.to_stderr()])
    from twisted.internet import reactor as running

    reactor: Any = running
    worker = Worker(reactor, options)
    reactor.callWhenRunning(worker.start)
    reactor.callWhenRunning(_outlive_signals)
    reactor.run()


if __name__ == "__main__":
    main()
