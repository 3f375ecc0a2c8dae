"""Ordered stops, and telling that the process is ready."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon.ordered import OrderedService
from nfp.daemon.ready import Ready, notify


class Slow(Service):
    """Stops when told."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.diary = diary
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> None:
        """Say so."""
        super().startService()
        self.diary.append(f"start {self.name}")

    def stopService(self) -> Deferred[None]:
        """Say so."""
        self.diary.append(f"stop {self.name}")
        return self.stopped


class OrderedTests(SynchronousTestCase):
    """Children stop one after another."""

    def setUp(self) -> None:
        """Two children."""
        self.diary: list[str] = []
        self.service = OrderedService()
        self.children = [Slow(name, self.diary) for name in ("a", "b")]
        for child in self.children:
            child.setServiceParent(self.service)
        self.service.startService()

    def test_the_last_stops_first_and_is_awaited(self) -> None:
        stopped = self.service.stopService()
        self.assertEqual(self.diary, ["start a", "start b", "stop b"])
        self.children[1].stopped.callback(None)
        self.assertEqual(self.diary[3:], ["stop a"])
        self.assertNoResult(stopped)
        self.children[0].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(self.service.running)

    def test_a_child_that_fails_to_stop_does_not_keep_the_others(self) -> None:
        stopped = self.service.stopService()
        self.children[1].stopped.errback(ValueError("x"))
        self.children[0].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ReadyTests(SynchronousTestCase):
    """What systemd and others are told."""

    def setUp(self) -> None:
        """Be systemd."""
        self.path = f"\0nfp-test-{id(self)}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": f"@{self.path[1:]}", "WATCHDOG_USEC": "2000000"}

    def told(self) -> list[str]:
        """What came."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(100).decode())
            except BlockingIOError:
                return found

    def test_ready_alive_stopping(self) -> None:
        clock, file = Clock(), Path(self.mktemp())
        file.write_text("left by another")
        ready = Ready(clock, str(file), self.environ)
        ready.startService()
        self.assertEqual((self.told(), file.exists()), ([], False))
        ready.tell()
        self.assertEqual((self.told(), file.exists()), (["READY=1", "WATCHDOG=1"], True))
        clock.pump([1.0, 1.0])
        self.assertEqual(self.told(), ["WATCHDOG=1", "WATCHDOG=1"])
        ready.stopService()
        self.assertEqual((self.told(), file.exists()), (["STOPPING=1"], False))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_without_systemd_nothing_is_told(self) -> None:
        self.assertFalse(notify("READY=1", {}))
