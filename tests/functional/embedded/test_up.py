"""One deployment, from ``nfp up`` to the last trace of it, driven as a user would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nfp.embedded.state_dir import StateDir
from nfp.netns import namespaces
from tools.deployment import NFP, Deployment, chain_node, until

WEB, CLIENT = "10.0.0.10", "10.0.1.1"


def nothing_seen(_service: object) -> None:
    """For those who do not care how a status came about."""


class UpTests(SynchronousTestCase):
    """Each test has a deployment of its own."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nfp-up-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.deployment = self.make("one")
        self.addCleanup(self.deployment.abandon)

    def make(self, name: str) -> Deployment:
        directory = self.directory / name
        directory.mkdir()
        return Deployment(directory)

    def assert_nothing_left(self, deployment: Deployment) -> None:
        self.assertEqual({name: found for name, found in deployment.left().items() if found}, {})

    def attach_hosts(self) -> None:
        node = chain_node()
        for name, address, side in (("web", f"{WEB}/24", "provider"), ("client", f"{CLIENT}/28", "consumer")):
            port = node[side]["port"][0]
            place = ("--network", port["network_id"], "--address", address, "--gateway", port["ip_address"])
            self.deployment.lab("attach", *place, name)
        self.deployment.serve("web", self.directory, (80,))

    def create(self) -> str:
        node = chain_node()
        self.deployment.call("create_network_service", network_service=node)
        self.deployment.follow(node["id"], "ACTIVE", nothing_seen)
        return str(node["id"])

    def test_one_life(self) -> None:
        """What dies is started again, a second instance is refused, and SIGTERM takes everything down."""
        self.deployment.up()
        self.attach_hosts()
        service = self.create()
        for component in ("proxy", "configurator", "agent", "device", "manager"):
            os.kill(self.deployment.pid_of(component), signal.SIGKILL)
            until(
                lambda component=component: f"{component} is back" in self.deployment.said.read_text(),
                60,
                f"{component} is started again",
            )
            self.assertTrue(self.deployment.reach("client", WEB, 80)[0], component)
        self.deployment.follow(service, "ACTIVE", nothing_seen)
        self.assertEqual(len(self.deployment.devices()), 1)
        self.refuse_a_second()
        self.assertEqual(self.deployment.stop(), 0)
        self.assert_nothing_left(self.deployment)

    def refuse_a_second(self) -> None:
        assert self.deployment.process is not None
        done = subprocess.run(
            [NFP, "up", "--state-dir", str(self.deployment.state.root)], capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("is in use by process", done.stderr)
        self.assertIn(f"kill {self.deployment.process.pid}", done.stderr)

    def test_two_deployments_run_side_by_side(self) -> None:
        other = self.make("two")
        self.addCleanup(other.abandon)
        self.deployment.up()
        other.up()
        self.create()
        self.assertEqual(len(self.deployment.devices()), 1)
        self.assertEqual(other.devices(), [])
        self.assertIsNone(
            other.call("get_network_service", network_service_id=chain_node()["id"]), "not its own broker"
        )
        self.assertEqual(other.stop(), 0)
        self.assert_nothing_left(other)
        self.assertEqual(len(self.deployment.devices()), 1)


class RefusedTests(SynchronousTestCase):
    """``nfp up`` that must not begin."""

    def test_what_is_missing_is_named_with_its_remedy_and_nothing_is_changed(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="nfp-up-"))
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        config = directory / "mine.conf"
        config.write_text("[DEFAULT]\ntransport_url = rabbit://u:secret@127.0.0.1:9/\n")
        state = StateDir.at(str(directory / "state"))
        done = subprocess.run(
            [sys.executable, "-m", "nfp.embedded.tap", str(state.root), str(config)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("the broker 127.0.0.1:9 cannot be reached", done.stderr)
        self.assertIn("→", done.stderr)
        self.assertNotIn("secret", done.stderr)
        self.assertFalse(state.root.exists())
        self.assertEqual(namespaces.names(state.namespace_prefix), [])
