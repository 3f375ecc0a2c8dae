"""The runtime as a process of its own, killed and started again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251  # the real one, as in tap
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nfp.model.digest import digest
from nfp.model.errors import Stale
from tests.functional.device.lab import TREE, Lab, allow, firewall, talks

ROOT = Path(__file__).parents[3]
SERVICE = "0d1f3b52-7c55-4d3c-9d11-0e9b7c8f1a2b"


class RestartTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.lab = Lab()
        self.addCleanup(self.lab.remove)
        self.lab.build_chain()
        self.process: subprocess.Popen[bytes] | None = None
        self.addCleanup(self.kill)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def command(self) -> list[str]:
        twistd = str(Path(sys.executable).parent / "twistd")
        log = "--logger=nfp.daemon.journal.to_stderr"
        return [twistd, "-n", "--pidfile=", log, "nfp-device", "--config", self.lab.settings()]

    def spawn(self) -> None:
        (self.lab.directory / "ready").unlink(missing_ok=True)
        with (self.lab.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), cwd=ROOT, stdout=log, stderr=log)

    async def start(self) -> None:
        self.spawn()
        await self.until(lambda: (self.lab.directory / "ready").exists())

    async def until(self, condition: Any) -> None:
        while not condition():
            assert self.process is not None
            if self.process.poll() is not None:
                self.fail((self.lab.directory / "log").read_text())
            await deferLater(reactor, 0.02)

    async def test_traffic_never_stops_and_everything_is_known_again(self) -> None:
        self.lab.echo(80)
        await self.start()
        control = self.lab.control(reactor)
        where = {"namespace": self.lab.device(), "address": self.lab.address(), "port": 9444}
        await control.request("PUT", "/v1/namespaces/dev", where)
        await control.close()
        device = self.lab.client(reactor)
        await device.request("PUT", "/v1/device", {"order": [3, 4], "tree": TREE})
        tree = firewall(allow(80))
        body = {"order": [3, 4], "kind": "firewall", "tree": tree}
        await device.request("PUT", f"/v1/services/{SERVICE}", body)
        await device.close()
        with self.lab.connect(80) as flow:
            self.assertTrue(talks(flow))
            before = self.lab.retransmits()
            self.kill()
            self.assertTrue(talks(flow) and self.lab.passes(80))
            starting = Deferred.fromCoroutine(self.start())
            while not starting.called:
                self.assertTrue(talks(flow))
                await deferLater(reactor, 0.01)
            await starting
            self.assertEqual(self.lab.retransmits(), before)
            device = self.lab.client(reactor)
            _, found = await device.request("GET", "/v1/device")
            self.assertEqual(found["digest"], digest(TREE))
            self.assertEqual(found["services"][SERVICE]["digest"], digest(tree))
            late = {"order": [3, 3], "kind": "firewall", "tree": firewall()}
            refused = Deferred.fromCoroutine(device.request("PUT", f"/v1/services/{SERVICE}", late))
            await self.assertFailure(refused, Stale)
            await device.request("PUT", f"/v1/services/{SERVICE}", {**body, "tree": firewall()})
            self.assertFalse(talks(flow))
            await device.close()

    async def test_a_second_runtime_on_the_same_socket_does_not_start(self) -> None:
        await self.start()
        second = await deferToThread(
            lambda: subprocess.run(self.command(), cwd=ROOT, capture_output=True, timeout=20)
        )
        self.assertNotEqual(second.returncode, 0)
        self.assertIn(b"served by another process", second.stdout + second.stderr)
