"""The private broker: its files and commands, and the node itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import tempfile
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251 - a real node needs the real one
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nfp.embedded.broker import Broker, commands, listens, prepare
from nfp.embedded.state_dir import StateDir
from tools.deployment import processes_of


class PrepareTests(SynchronousTestCase):
    """What is kept from one start to the next."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp())

    def test_ports_and_password_stay(self) -> None:
        self.assertEqual(prepare(self.home), prepare(self.home))

    def test_a_port_that_is_taken_meanwhile_is_given_up(self) -> None:
        first = prepare(self.home)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", first.port))
            second = prepare(self.home)
        self.assertNotEqual(first.port, second.port)
        self.assertEqual((first.distribution, first.password), (second.distribution, second.password))

    def test_three_different_ports(self) -> None:
        access = prepare(self.home)
        self.assertEqual(len({access.port, access.distribution, access.mapper}), 3)

    def test_a_broken_record_is_made_anew(self) -> None:
        prepare(self.home)
        (self.home / "access.json").write_text("[]")
        self.assertTrue(prepare(self.home).password.reveal())

    def test_the_password_is_shown_to_nobody(self) -> None:
        access = prepare(self.home)
        password = access.password.reveal()
        self.assertNotIn(password, access.shown)
        self.assertNotIn(password, repr(access))
        for name in ("access.json", "rabbitmq.conf"):
            self.assertEqual(stat.S_IMODE((self.home / name).stat().st_mode), 0o600)

    def test_nothing_of_an_installed_broker_is_used(self) -> None:
        access = prepare(self.home)
        mapper, server = commands(self.home, access, "nfp-x")
        for name in (
            "HOME",
            "RABBITMQ_MNESIA_BASE",
            "RABBITMQ_CONF_ENV_FILE",
            "RABBITMQ_ENABLED_PLUGINS_FILE",
        ):
            self.assertTrue(server.environment[name].startswith(str(self.home)), name)
        self.assertEqual(server.environment["ERL_EPMD_PORT"], str(access.mapper))
        self.assertEqual(mapper.argv[1:], ("-port", str(access.mapper), "-address", "127.0.0.1"))
        self.assertNotIn(access.password.reveal(), " ".join([*server.argv, *server.environment.values()]))


class NodeTests(TestCase):
    """A real node."""

    timeout = 180

    def setUp(self) -> None:
        self.state = StateDir.at(tempfile.mkdtemp(prefix="nfp-node-"))
        self.addCleanup(shutil.rmtree, self.state.root)
        for directory in (self.state.run, self.state.log):
            directory.mkdir()

    async def until(self, true: object) -> None:
        assert callable(true)
        while not true():
            await deferLater(reactor, 0.05)

    def test_it_comes_back_after_a_kill_and_leaves_nothing_when_it_stops(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.life())

    async def life(self) -> None:
        told: list[str] = []
        broker = Broker(reactor, self.state, told.append)
        try:
            await broker.start()
            self.assertTrue(listens(broker.access.port))
            first = broker.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await self.until(lambda: any("rabbitmq is back" in sentence for sentence in told))
            self.assertTrue(listens(broker.access.port))
            self.assertNotEqual(broker.pid, first)
        finally:
            await broker.stop()
        self.assertFalse(listens(broker.access.port))
        self.assertFalse(listens(broker.access.mapper), "its own epmd went with it")
        self.assertEqual(processes_of(self.state.root), [])
