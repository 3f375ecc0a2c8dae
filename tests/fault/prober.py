"""Steady traffic through a firewall: one connection that stays, and a new one every 50 ms.

The kernel itself says whether a packet was lost: a connection that had to send one twice counts as a
failure, however quickly it recovered.  So no busy machine, only a closed firewall, makes it fail.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nfp.netns.inside import inside
from tests.functional.chain import WEB

INTERVAL_SECONDS = 0.05
PATIENCE_SECONDS = 10.0
_TOTAL_RETRANSMITS = 100
"""Where ``struct tcp_info`` has ``tcpi_total_retrans``."""


class Prober:
    """Sends from inside a namespace until told to stop.

    :ivar failures: what went wrong, with the time since the start.
    :ivar echoes: bytes that came back over the connection that stays.
    :ivar connections: new connections that were made and answered.
    """

    def __init__(self, namespace: str, port: int) -> None:
        self.failures: list[str] = []
        self.echoes = 0
        self.connections = 0
        self._port = port
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._threads = [
            threading.Thread(target=inside, args=(namespace, work), daemon=True)
            for work in (self._stay, self._come_and_go)
        ]

    def start(self) -> None:
        """Begin, and return when traffic flows."""
        for thread in self._threads:
            thread.start()
        pause = threading.Event()
        while not (self.echoes and self.connections) and not self.failures:
            pause.wait(0.01)

    def stop(self) -> None:
        """End, after one more of each."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_SECONDS)

    def _stay(self) -> None:
        with self._failing("the connection that stays"), self._connected() as connection:
            for _ in self._ticks():
                _ask(connection)
                self.echoes += 1
            _ask(connection)
            _nothing_twice(connection)

    def _come_and_go(self) -> None:
        for _ in self._ticks():
            with self._failing("a new connection"), self._connected() as connection:
                _ask(connection)
                _nothing_twice(connection)
                self.connections += 1

    def _ticks(self) -> Iterator[None]:
        while not self._stop.is_set():
            yield
            self._stop.wait(INTERVAL_SECONDS)

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection((WEB, self._port), PATIENCE_SECONDS) as connection:
            yield connection

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        began = time.monotonic() - self._began
        try:
            yield
        except OSError as error:
            ended = time.monotonic() - self._began
            self.failures.append(f"{began:.3f} to {ended:.3f} s: {what}: {type(error).__name__} {error}")


def _ask(connection: socket.socket) -> None:
    connection.sendall(b"?")
    if connection.recv(1) != b"?":
        raise ConnectionResetError("the other side closed it")


def _nothing_twice(connection: socket.socket) -> None:
    said = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (count,) = struct.unpack_from("I", said, _TOTAL_RETRANSMITS)
    if count:
        raise TimeoutError(f"{count} packets had to be sent again")


@contextmanager
def steady_traffic(namespace: str, port: int, assert_none: Callable[[list[str]], None]) -> Iterator[Prober]:
    """Traffic for as long as the block lasts, of which nothing may fail.

    :param assert_none: gets the failures at the end.
    """
    prober = Prober(namespace, port)
    prober.start()
    try:
        yield prober
    finally:
        prober.stop()
    assert_none(prober.failures)
    if not (prober.echoes > 1 and prober.connections > 1):
        raise AssertionError("there was no steady traffic")
