"""``twistd nfp-proxy`` as an operator runs it."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.proxy.twistd import Process


class ProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.where = Path(tempfile.mkdtemp(prefix="nfp-proxy-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.where)
        self.target = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.target.close)
        self.path = str(self.where / "p.sock")
        self.config = self.where / "nfp.conf"
        self.config.write_text(
            f"[proxy]\nsocket = {self.path}\ntarget = 127.0.0.1:{self.target.getsockname()[1]}\n"
        )

    def started(self) -> Process:
        process = Process("nfp-proxy", self.config, self.where)
        self.addCleanup(process.kill)
        return process

    def echoes(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(self.path)
            client.sendall(b"ping")
            served, _ = self.target.accept()
            with served:
                served.settimeout(10)
                served.sendall(served.recv(16))
                return client.recv(16) == b"ping"

    def test_it_forwards_after_a_kill_and_stops_cleanly_when_asked(self) -> None:
        first = self.started()
        first.wait_ready()
        self.assertTrue(self.echoes())
        first.kill()
        self.assertTrue(Path(self.path).exists(), "no dead socket was left: not a test")
        second = self.started()
        second.wait_ready()
        self.assertTrue(self.echoes())
        # twistd ends by the signal that it was stopped with, after a clean stop.
        self.assertEqual(second.stop(), 0)
        self.assertFalse(Path(self.path).exists())
        self.assertFalse(second.ready)

    def test_a_second_one_on_the_same_socket_does_not_start(self) -> None:
        self.started().wait_ready()
        second = Process("nfp-proxy", self.config, self.where)
        self.assertNotEqual(second.process.wait(20), 0)
        self.assertIn("is served by another process", second.log_path.read_text())
        self.assertTrue(self.echoes())

    def test_all_errors_of_the_configuration_are_told_at_once(self) -> None:
        self.config.write_text("[proxy]\nsocket = p.sock\ntarget = nowhere\nmode = rwx\n")
        process = self.started()
        self.assertNotEqual(process.process.wait(20), 0)
        told = process.log_path.read_text()
        for option in ("socket", "target", "mode"):
            self.assertIn(f"[proxy] {option}", told)
