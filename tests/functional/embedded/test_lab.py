"""``nfp lab attach | run | detach`` on a fabric, by the command line."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import sqlalchemy as sa
from twisted.trial.unittest import SynchronousTestCase

from nfp.embedded import configuration, topology
from nfp.embedded.state_dir import StateDir
from nfp.manager.lifecycle.fabric import bridge_name
from nfp.manager.store.engine import make_engine
from nfp.manager.store.migrate import upgrade
from nfp.manager.store.tables import DirectoryPortRow, DirectorySubnetRow
from nfp.model.secret import Secret
from nfp.netns import links, namespaces
from nfp.netns.inside import popen_inside
from tools.deployment import NFP, until

SERVER = ("python3", "-m", "http.server", "--directory", "/", "80")
PLACE = ("--network", "net-1", "--address", "10.7.0.5/24")


class LabTests(SynchronousTestCase):
    """A fabric without the processes: they have no part in this."""

    def setUp(self) -> None:
        self.state = StateDir.at(tempfile.mkdtemp(prefix="nfp-lab-"))
        self.addCleanup(shutil.rmtree, self.state.root)
        self.state.run.mkdir()
        settings = configuration.read(self.state, [])
        configuration.write(self.state, settings, Secret("rabbit://127.0.0.1/"))
        self.connection = settings.connection.reveal()
        upgrade(self.connection)
        topology.raise_up(self.state)
        self.addCleanup(topology.take_down, self.state)

    def lab(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [NFP, "lab", verb, "--state-dir", str(self.state.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def good(self, verb: str, *arguments: str) -> str:
        done = self.lab(verb, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def bridges(self) -> set[str]:
        return {link.name for link in links.list_links(self.state.fabric) if link.name.startswith("b")}

    def rows(self, table: type) -> list[sa.Row[tuple[object, ...]]]:
        engine = make_engine(self.connection)
        try:
            with engine.connect() as connection:
                return list(connection.execute(sa.select(table.__table__)))
        finally:
            engine.dispose()

    def test_two_hosts_on_one_network_reach_each_other(self) -> None:
        self.good("attach", *PLACE, "one")
        self.good("attach", "--network", "net-1", "--address", "10.7.0.6/24", "two")
        serving = subprocess.Popen(
            [NFP, "lab", "run", "--state-dir", str(self.state.root), "one", "--", *SERVER],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(serving.wait)
        self.addCleanup(serving.kill)
        fetch = "import urllib.request as u; print(u.urlopen('http://10.7.0.5/', timeout=2).status)"
        until(
            lambda: self.lab("run", "two", "--", "python3", "-c", fetch).stdout.strip() == "200",
            30,
            "an answer",
        )

    def test_hosts_on_different_networks_do_not(self) -> None:
        self.good("attach", *PLACE, "one")
        self.good("attach", "--network", "net-2", "--address", "10.7.0.6/24", "two")
        dial = "import socket; socket.create_connection(('10.7.0.5', 9), 0.5)"
        self.assertNotIn("ConnectionRefusedError", self._complaint("two", dial), "it was reached")
        self.good("attach", "--network", "net-1", "--address", "10.7.0.7/24", "three")
        self.assertIn("ConnectionRefusedError", self._complaint("three", dial))

    def _complaint(self, name: str, code: str) -> str:
        return self.lab("run", name, "--", "python3", "-c", code).stderr

    def test_address_mac_route_and_bridge_are_as_asked(self) -> None:
        self.good("attach", *PLACE, "--mac", "FA:16:3E:00:00:07", "--gateway", "10.7.0.1", "one")
        namespace = self.state.lab("one")
        (link,) = [link for link in links.list_links(namespace) if link.name == "eth0"]
        self.assertEqual((link.mac, link.addresses, link.up), ("fa:16:3e:00:00:07", ("10.7.0.5/24",), True))
        self.assertIn(
            ("0.0.0.0/0", "10.7.0.1"), [(r.destination, r.nexthop) for r in links.list_routes(namespace)]
        )
        self.assertIn(bridge_name("net-1"), self.bridges())

    def test_the_directory_learns_of_the_port_and_its_subnet(self) -> None:
        self.good(
            "attach", *PLACE, "--port-id", "p-1", "--subnet-id", "s-1", "--mac", "fa:16:3e:00:00:08", "one"
        )
        (port,) = self.rows(DirectoryPortRow)
        self.assertEqual(
            (port.id, port.network_id, port.mac_address, list(port.addresses), port.subnet_id),
            ("p-1", "net-1", "fa:16:3e:00:00:08", ["10.7.0.5"], "s-1"),
        )
        (subnet,) = self.rows(DirectorySubnetRow)
        self.assertEqual((subnet.id, subnet.network_id, subnet.cidr), ("s-1", "net-1", "10.7.0.0/24"))
        self.good("detach", "one")
        self.assertEqual(self.rows(DirectoryPortRow), [])

    def test_attaching_again_is_harmless_and_attaching_otherwise_is_refused(self) -> None:
        self.assertEqual(self.good("attach", *PLACE, "one"), self.good("attach", *PLACE, "one"))
        other = self.lab("attach", "--network", "net-9", "--address", "10.9.0.5/24", "one")
        self.assertEqual(other.returncode, 1)
        self.assertIn("detach it first", other.stderr)

    def test_the_commands_status_and_streams_are_its_own(self) -> None:
        self.good("attach", *PLACE, "one")
        code = "import sys; print(sys.stdin.read().upper()); print('oh', file=sys.stderr); sys.exit(7)"
        done = subprocess.run(
            [
                NFP,
                "lab",
                "run",
                "--state-dir",
                str(self.state.root),
                "one",
                "--",
                "python3",
                "-c",
                code,
                "--x",
            ],
            input="hello",
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "HELLO\n", "oh\n"))

    def test_a_command_that_is_not_there_says_so(self) -> None:
        self.good("attach", *PLACE, "one")
        done = self.lab("run", "one", "--", "/no/such/program")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such/program: No such file", done.stderr)

    def test_detaching_ends_what_runs_there_and_leaves_nothing(self) -> None:
        before = self.bridges()
        self.good("attach", *PLACE, "one")
        command = [NFP, "lab", "run", "--state-dir", str(self.state.root), "one", "--", "sleep", "600"]
        running = subprocess.Popen(command)
        self.addCleanup(running.kill)
        until(lambda: bool(namespaces.processes_inside(self.state.lab("one"))), 30, "the command runs")
        self.good("detach", "one")
        self.assertEqual(running.wait(10), -signal.SIGTERM)
        self.assertFalse(namespaces.exists(self.state.lab("one")))
        self.assertEqual(self.bridges(), before)
        self.assertFalse(self.state.lab_record("one").exists())

    def test_what_is_not_attached_can_neither_run_nor_be_detached(self) -> None:
        for verb, rest in (("run", ("nobody", "--", "true")), ("detach", ("nobody",))):
            done = self.lab(verb, *rest)
            self.assertEqual(done.returncode, 1)
            self.assertIn("no lab host nobody is attached", done.stderr)

    def test_bad_input_is_refused_by_the_options_name(self) -> None:
        for arguments, said in (
            (("--network", "n", "--address", "10.7.0.5", "one"), "--address"),
            (("--network", "n", "--address", "10.7.0.500/24", "one"), "--address"),
            (("--network", "n", "--address", "10.7.0.5/24", "--gateway", "x", "one"), "--gateway"),
            (("--network", "n", "--address", "10.7.0.5/24", "--gateway", "10.8.0.1", "one"), "--gateway"),
            (("--network", "n", "--address", "10.7.0.5/24", "--mac", "zz", "one"), "--mac"),
            (("--network", "n", "--address", "10.7.0.5/24", "../one"), "NAME"),
        ):
            done = self.lab("attach", *arguments)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(said, done.stderr)
        self.assertEqual(namespaces.names(f"{self.state.namespace_prefix}l-"), [])

    def test_without_a_deployment_it_says_how_to_have_one(self) -> None:
        elsewhere = Path(tempfile.mkdtemp(prefix="nfp-lab-"))
        self.addCleanup(shutil.rmtree, elsewhere)
        command = [NFP, "lab", "attach", "--state-dir", str(elsewhere), *PLACE, "one"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"nfp up --state-dir {elsewhere}", done.stderr)


class TopologyTests(SynchronousTestCase):
    """The fabric itself."""

    def make(self) -> StateDir:
        state = StateDir.at(tempfile.mkdtemp(prefix="nfp-topo-"))
        self.addCleanup(shutil.rmtree, state.root)
        self.addCleanup(topology.take_down, state)
        return state

    def test_two_stand_side_by_side_and_each_goes_alone(self) -> None:
        one, other = self.make(), self.make()
        for state in (one, other):
            topology.raise_up(state)
            self.assertEqual(len(topology.standing(state)), 3)
        topology.take_down(one)
        self.assertEqual(topology.standing(one), [])
        self.assertEqual(len(topology.standing(other)), 3)

    def test_raising_it_again_adopts_what_is_there(self) -> None:
        state = self.make()
        topology.raise_up(state)
        before = {name: links.list_links(name) for name in topology.standing(state)}
        topology.raise_up(state)
        self.assertEqual({name: links.list_links(name) for name in topology.standing(state)}, before)

    def test_what_is_missing_of_it_is_completed(self) -> None:
        state = self.make()
        topology.raise_up(state)
        namespaces.delete(state.router)
        topology.raise_up(state)
        self.assertIn("eth0", [link.name for link in links.list_links(state.router)])

    def test_taking_it_down_waits_for_nobody_inside(self) -> None:
        state = self.make()
        topology.raise_up(state)
        code = (
            "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
        )
        stubborn = popen_inside(state.router, ["python3", "-c", code], stdout=subprocess.PIPE)
        self.addCleanup(stubborn.kill)
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        self.addCleanup(stubborn.stdout.close)
        topology.take_down(state)
        self.assertEqual(stubborn.wait(10), -signal.SIGKILL)
        self.assertEqual(topology.standing(state), [])
