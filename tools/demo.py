"""``make demo``: the whole system on this machine, a firewall between two hosts, real packets.

Everything it makes is in a directory of its own; at the end it shows that nothing is left.  A
failure names the part that failed, shows what the logs say, and the exit status is 1.
"""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nfp.manager.lifecycle.control import DeviceControl
from nfp.netns.inside import connect_inside
from tools.deployment import (
    SETTLE_SECONDS,
    Deployment,
    DeploymentError,
    chain_node,
    example,
    until,
)

WEB, CLIENT = "10.0.0.10", "10.0.1.1"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Durations:
    """How long each part took, and which one is running."""

    def __init__(self) -> None:
        self.running = ""
        self._parts: list[tuple[str, float]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part; it is the one to blame for what is raised inside."""
        self.running = name
        say(f"\n== {name}")
        began = time.monotonic()
        yield
        self._parts.append((name, time.monotonic() - began))
        self.running = ""

    def show(self) -> None:
        """Print them."""
        say("\n== how long it took")
        for name, seconds in self._parts:
            say(f"   {seconds:7.2f} s  {name}")
        say(f"   {sum(seconds for _, seconds in self._parts):7.2f} s  in all")


class Demo:
    """One run, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.durations = Durations()
        self.deployment = Deployment(directory)
        self._directory = directory
        self._before = host_state()
        self._node = chain_node()

    def run(self) -> None:
        """All parts, one after another."""
        part = self.durations.part
        with part("nfp up: broker, database, topology, five processes"):
            self.start()
        with part("lab hosts: a web server on the provider's network, a client on the consumers'"):
            self.attach()
        with part("create_network_service: a firewall that lets port 80 through"):
            self.ask("create_network_service", "ACTIVE", network_service=self._node)
        with part("traffic: 80 passes, 22 does not"):
            self.prove(passes=80, blocked=22)
        with part("update_network_service: now 22 instead of 80"):
            changed = {"service_config": example("firewall-ssh")}
            self.ask(
                "update_network_service",
                "ACTIVE",
                network_service_id=self._node["id"],
                network_service=changed,
            )
        with part("traffic: 22 passes, 80 does not"):
            self.prove(passes=22, blocked=80)
        with part("the firewall's counters"):
            self.counters()
        with part("delete_network_service: the device goes too"):
            self.ask("delete_network_service", None, network_service_id=self._node["id"])
            until(lambda: not self.deployment.devices(), SETTLE_SECONDS, "the device's namespace vanishes")
            say("   the device's namespace is gone")
        with part("stop: everything down"):
            self.stop()
        with part("nothing is left"):
            self.nothing_left()

    def start(self) -> None:
        """Start ``nfp up``."""
        self.deployment.up()
        say(self.deployment.said.read_text().rstrip())

    def attach(self) -> None:
        """Put two hosts on the networks, and start servers on one."""
        provider, consumer = (self._node[side]["port"][0] for side in ("provider", "consumer"))
        for name, address, port in (("web", f"{WEB}/24", provider), ("client", f"{CLIENT}/28", consumer)):
            place = ("--network", port["network_id"], "--address", address, "--gateway", port["ip_address"])
            say(f"   {self.deployment.lab('attach', *place, name)}")
        pages = self._directory / "pages"
        pages.mkdir()
        (pages / "index.html").write_text("<p>through the firewall</p>\n")
        self.deployment.serve("web", pages, (80, 22))
        say("   ports 80 and 22 of web answer on web itself")
        reached, why = self.deployment.reach("client", WEB, 80)
        if reached:
            raise DeploymentError("client reaches web although there is no device yet")
        say(f"   client reaches neither, for there is no device between the networks yet: {why}")

    def ask(self, method: str, wanted: str | None, **args: object) -> None:
        """Send an RPC, and follow the service until its status is *wanted*."""
        began = time.monotonic()

        def show(service: Mapping[str, Any] | None) -> None:
            text = f"{service['status']:<15} {service['status_description'] or ''}" if service else "gone"
            say(f"   {time.monotonic() - began:7.3f} s  {text.rstrip()}")

        self.deployment.call(method, **args)
        self.deployment.follow(self._node["id"], wanted, show)

    def prove(self, *, passes: int, blocked: int) -> None:
        """Send packets from the client to both ports of the server."""
        for port, wanted in ((passes, True), (blocked, False)):
            reached, answer = self.deployment.reach("client", WEB, port)
            if reached is not wanted:
                raise DeploymentError(f"port {port} of {WEB}, asked by the client: {answer}")
            say(f"   port {port}: {answer}")

    def counters(self) -> None:
        """Ask the device what the firewall has counted, as the configurator would."""
        told = self.ask_device(f"/v1/services/{self._node['id']}")
        for rule, counted in told["counters"].items():
            say(f"   {rule:<24} {counted['packets']:>6} packets {counted['bytes']:>8} bytes")
        if not any(counted["packets"] for counted in told["counters"].values()):
            raise DeploymentError("no rule has counted a packet")

    def ask_device(self, path: str) -> Mapping[str, Any]:
        """Ask the one device over mutual TLS, from inside the service tenant."""
        state = self.deployment.state
        (device,) = DeviceControl(str(state.device_socket), 5.0).served().values()
        context = ssl.create_default_context(cafile=state.pki / "ca.pem")
        context.load_cert_chain(state.pki / "configurator.service.pem")
        (certificate,) = state.pki.glob("device.*.pem")
        plain = connect_inside(state.configurator, device["address"], device["port"], 5.0)
        connection = http.client.HTTPConnection(device["address"], device["port"])
        connection.sock = context.wrap_socket(plain, server_hostname=certificate.stem)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            told: Mapping[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise DeploymentError(f"the device answers {answer.status}: {told}")
        return told

    def stop(self) -> None:
        """Detach the hosts and stop ``nfp up`` by SIGTERM."""
        for name in ("client", "web"):
            say(f"   {self.deployment.lab('detach', name)}")
        status = self.deployment.stop()
        if status != 0:
            raise DeploymentError(f"nfp up ended with status {status}")

    def nothing_left(self) -> None:
        """Compare the machine with what it was."""
        left = dict(self.deployment.left())
        for name, now in host_state().items():
            left[name] = sorted(set(now) ^ set(self._before[name]))
        for name, found in left.items():
            say(f"   {name:<22} {found or 'none left'}")
        say("   queues                 went with the broker, which was private to this run")
        if any(left.values()):
            raise DeploymentError("something is left behind")

    def logs(self) -> str:
        """The last complaints in the logs."""
        levels = ('"level": "warn"', '"level": "error"', '"level": "critical"')
        found = []
        for path in sorted(self.deployment.state.log.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            complaints = [line for line in lines if any(level in line for level in levels)]
            found += [f"{path.name}: {line[:400]}" for line in complaints[-3:]]
        return "\n".join(found)


def host_state() -> Mapping[str, Sequence[str]]:
    """Links and ruleset of the host itself."""
    ruleset = subprocess.run(["/usr/sbin/nft", "list", "ruleset"], capture_output=True, text=True, check=True)
    return {
        "links of the host": [path.name for path in Path("/sys/class/net").iterdir()],
        "nft rules of the host": ruleset.stdout.splitlines(),
    }


def fail(demo: Demo, error: BaseException) -> NoReturn:
    """Say which part failed and why, stop everything, and end with status 1."""
    say(f"\nFAILED in part {demo.durations.running!r}: {str(error) or type(error).__name__}")
    say(demo.logs())
    demo.deployment.abandon()
    say(f"logs are kept in {demo.deployment.state.log}")
    sys.exit(1)


FAILURES: tuple[type[BaseException], ...] = (
    DeploymentError,
    OSError,
    ValueError,
    LookupError,
    subprocess.SubprocessError,
    KeyboardInterrupt,
)


def main() -> None:
    """Run the demo."""
    directory = Path(tempfile.mkdtemp(prefix="nfp-demo-"))
    demo = Demo(directory)
    try:
        demo.run()
    except FAILURES as error:
        fail(demo, error)
    demo.durations.show()
    shutil.rmtree(directory)
    say("\nthe demo went well")


if __name__ == "__main__":
    main()
