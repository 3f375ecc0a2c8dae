"""Listening: on a socket that somebody else opened, or on a UNIX path that nobody else serves."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IListeningPort


class SocketInUse(OSError):
    """Another process serves this path."""


def adopt(reactor: Any, opened: socket.socket, factory: Any) -> IListeningPort:
    """Serve *factory* on a listening TCP socket, perhaps one of another network namespace.

    :param opened: bound and listening; closed here, for the port has a copy of its own.
    """
    with opened:
        opened.setblocking(False)
        port: IListeningPort = reactor.adoptStreamPort(opened.fileno(), opened.family, factory)
    return port


class UnixPath:
    """The right to serve a UNIX path, held by a lock beside it that dies with the process.

    :param path: where the socket is; its lock is ``<path>.lock`` and stays.
    :param mode: permissions of the socket.
    """

    def __init__(self, path: str, mode: int = 0o660) -> None:
        self.path = path
        self.mode = mode
        self._lock: int | None = None
        self._port: IListeningPort | None = None

    def listen(self, reactor: Any, factory: Any, backlog: int = 128) -> IListeningPort:
        """Serve *factory* there; a socket that a dead process left is cleared away.

        :raises SocketInUse: a live process serves the path.
        :raises OSError: something that is no socket is there, or the directory forbids it.
        """
        self._claim()
        try:
            _clear(self.path)
            self._port = reactor.listenUNIX(self.path, factory, backlog=backlog, mode=self.mode)
        except BaseException:
            self._release()
            raise
        assert self._port is not None
        return self._port

    async def stop(self) -> None:
        """Stop listening; connections that stand are not touched."""
        port, self._port = self._port, None
        if port is not None:
            stopping: Any = port.stopListening()
            if stopping is not None:
                await stopping
        self._release()

    def _claim(self) -> None:
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise SocketInUse(f"{self.path} is served by another process") from None
        self._lock = lock

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _clear(path: str) -> None:
    """Remove a dead socket."""
    there = Path(path)
    try:
        mode = there.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX) as trying:
        # A full backlog means that somebody lives: never wait for it.
        trying.setblocking(False)
        try:
            trying.connect(path)
        except ConnectionRefusedError:
            there.unlink()
            return
        except BlockingIOError:
            pass
    raise SocketInUse(f"{path} is served by another process")
