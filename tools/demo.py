"""``make demo``: the whole system on this machine, a firewall between two hosts, real packets.

Everything it makes is in a directory of its own; at the end it shows that nothing is left.  A
failure names the part that failed, shows what the logs say, and the exit status is 1.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT))

from nfp.embedded.state_dir import StateDir  # noqa: E402 - after the path is right
from nfp.manager.lifecycle.control import DeviceControl  # noqa: E402
from nfp.netns import namespaces  # noqa: E402
from nfp.netns.inside import connect_inside  # noqa: E402

READY_SECONDS = 150.0
SETTLE_SECONDS = 60.0
STOP_SECONDS = 60.0
PROBE_SECONDS = 1.5

PROVIDER_NETWORK, CONSUMER_NETWORK = "demo-provider", "demo-stitching"
WEB, CLIENT = "10.0.0.10", "10.0.1.1"
DEVICE_PROVIDER, DEVICE_CONSUMER = "10.0.0.1", "10.0.1.7"

PROBE = f"""
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
try:
    with socket.create_connection((host, port), {PROBE_SECONDS}) as connection:
        connection.settimeout({PROBE_SECONDS})
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(connection.recv(100).split(b"\\r\\n")[0].decode())
except OSError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""


class DemoFailed(Exception):
    """Something is not as it must be."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Clock:
    """How long each part took, and which one is running."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, float]] = []
        self.running = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part; it is the one to blame for what is raised inside."""
        self.running = name
        say(f"\n== {name}")
        began = time.monotonic()
        yield
        self.parts.append((name, time.monotonic() - began))
        self.running = ""


def until(found: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition.

    :raises DemoFailed: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not found():
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what}: not within {seconds:g} s")
        pause.wait(0.05)


class Caller:
    """The oslo.messaging client, in a process of its own."""

    def __init__(self, state: StateDir) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                str(ROOT / "tools" / "demo_client.py"),
                str(state.transport_url),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, method: str, **args: object) -> Any:
        """Call the manager.

        :raises DemoFailed: it answered with an error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"method": method, "args": args}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise DemoFailed(f"the RPC client ended during {method}")
        answer = json.loads(line)
        if "error" in answer:
            raise DemoFailed(f"{method} was answered with {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Let the client end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Demo:
    """One run, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.state = StateDir.at(str(directory / "state"))
        self.clock = Clock()
        self.before = host_state()
        self._directory = directory
        self._up: subprocess.Popen[str] | None = None
        self._caller: Caller | None = None
        self._servers: list[subprocess.Popen[bytes]] = []
        self._service = str(uuid.uuid4())

    def run(self) -> None:
        """All parts, one after another."""
        part = self.clock.part
        with part("nfp up: broker, database, topology, five processes"):
            self.start()
        with part("lab hosts: a web server on the provider's network, a client on the consumer's"):
            self.attach()
        with part("create_network_service: a firewall that lets port 80 through"):
            self.create()
        with part("traffic: 80 passes, 22 does not"):
            self.prove(passes=80, blocked=22)
        with part("update_network_service: now 22 instead of 80"):
            self.update()
        with part("traffic: 22 passes, 80 does not"):
            self.prove(passes=22, blocked=80)
        with part("the firewall's counters"):
            self.counters()
        with part("delete_network_service: the device goes too"):
            self.delete()
        with part("stop: everything down"):
            self.stop()
        with part("nothing is left"):
            self.nothing_left()

    def start(self) -> None:
        """Start ``nfp up`` and wait until it says that it is ready."""
        self._directory.mkdir(parents=True, exist_ok=True)
        said = self._directory / "up.out"
        with said.open("w") as out:
            self._up = subprocess.Popen(
                [str(BIN / "nfp"), "up", "--state-dir", str(self.state.root)],
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )

        def ready() -> bool:
            assert self._up is not None
            if self._up.poll() is not None:
                raise DemoFailed(f"nfp up ended:\n{said.read_text()}")
            return "ready" in said.read_text().splitlines()

        until(ready, READY_SECONDS, "nfp up becomes ready")
        say(said.read_text().rstrip())
        self._caller = Caller(self.state)

    def attach(self) -> None:
        """Put two hosts on the networks, and start servers on one."""
        self.lab(
            "attach",
            "--network",
            PROVIDER_NETWORK,
            "--address",
            f"{WEB}/24",
            "--gateway",
            DEVICE_PROVIDER,
            "web",
        )
        self.lab(
            "attach",
            "--network",
            CONSUMER_NETWORK,
            "--address",
            f"{CLIENT}/28",
            "--gateway",
            DEVICE_CONSUMER,
            "client",
        )
        pages = self._directory / "pages"
        pages.mkdir()
        (pages / "index.html").write_text("<p>through the firewall</p>\n")
        for port in (80, 22):
            command = [sys.executable, "-m", "http.server", "--directory", str(pages), str(port)]
            self._servers.append(
                subprocess.Popen(
                    self.lab_command("run", "web", "--", *command),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        for port in (80, 22):
            until(
                lambda port=port: self.reach("web", "127.0.0.1", port) is not None,
                30,
                f"a server on port {port}",
            )
        say("both servers answer on their own host")
        if self.reach("client", WEB, 80) is not None:
            raise DemoFailed("the client reaches the server although there is no device yet")
        say("the client reaches neither: there is no device between the networks yet")

    def create(self) -> None:
        """Ask for the firewall, and follow it until it is ACTIVE."""
        began = time.monotonic()
        self.call("create_network_service", network_service=network_service(self._service, allow=80))
        self.follow("ACTIVE", began)

    def update(self) -> None:
        """Ask for other rules, and follow them until they are in force."""
        began = time.monotonic()
        wanted = {"service_config": firewall(allow=22)}
        self.call("update_network_service", network_service_id=self._service, network_service=wanted)
        self.follow("ACTIVE", began)

    def delete(self) -> None:
        """Ask for the end of it, and follow it until it is gone with its device."""
        began = time.monotonic()
        self.call("delete_network_service", network_service_id=self._service)
        self.follow(None, began)
        until(lambda: not self.devices(), SETTLE_SECONDS, "the device's namespace vanishes")
        say(f"   {time.monotonic() - began:7.3f} s  the device's namespace is gone")

    def follow(self, wanted: str | None, began: float) -> None:
        """Print each change of status until it is *wanted*; ``None``: until the service is gone."""
        last: object = object()
        deadline = time.monotonic() + SETTLE_SECONDS
        pause = threading.Event()
        while True:
            service = self.call("get_network_service", network_service_id=self._service)
            status = service["status"] if service else None
            shown = (status, service.get("status_description") if service else None)
            if shown != last:
                last = shown
                text = f"{status}  {shown[1] or ''}" if service else "gone"
                say(f"   {time.monotonic() - began:7.3f} s  {text.rstrip()}")
            if status == wanted:
                return
            if status == "ERROR":
                raise DemoFailed(f"the service is in ERROR: {shown[1]}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"the service is {status} after {SETTLE_SECONDS:g} s, not {wanted}")
            pause.wait(0.02)

    def prove(self, *, passes: int, blocked: int) -> None:
        """Send packets from the client to both ports of the server."""
        answer = self.reach("client", WEB, passes)
        if answer is None:
            raise DemoFailed(f"port {passes} of {WEB} does not answer the client")
        say(f"   port {passes}: {answer}")
        if self.reach("client", WEB, blocked) is not None:
            raise DemoFailed(f"port {blocked} of {WEB} answers the client")
        say(f"   port {blocked}: no answer")

    def counters(self) -> None:
        """Ask the device what the firewall has counted, as the configurator would."""
        (address, port), certificates = self.device(), self.state.pki
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        context.load_cert_chain(certificates / "configurator.service.pem")
        (name,) = certificates.glob("device.*.pem")
        plain = connect_inside(self.state.configurator, address, port, 5.0)
        connection = http.client.HTTPConnection(address, port)
        connection.sock = context.wrap_socket(plain, server_hostname=name.stem)
        connection.request("GET", f"/v1/services/{self._service}")
        answer = connection.getresponse()
        told = json.loads(answer.read())
        connection.close()
        if answer.status != http.client.OK:
            raise DemoFailed(f"the device answers {answer.status}: {told}")
        for rule, counted in told["counters"].items():
            say(f"   {rule:<24} {counted['packets']:>6} packets {counted['bytes']:>8} bytes")
        if not any(counted["packets"] for counted in told["counters"].values()):
            raise DemoFailed("no rule has counted a packet")

    def device(self) -> tuple[str, int]:
        """Management address of the one device, by the device runtime's own word."""
        (told,) = DeviceControl(str(self.state.device_socket), 5.0).served().values()
        return told["address"], told["port"]

    def stop(self) -> None:
        """Detach the hosts and stop ``nfp up`` by SIGTERM."""
        for name in ("client", "web"):
            self.lab("detach", name)
        assert self._caller is not None
        self._caller.close()
        assert self._up is not None
        self._up.send_signal(signal.SIGTERM)
        status = self._up.wait(STOP_SECONDS)
        if status != 0:
            raise DemoFailed(f"nfp up ended with status {status}")

    def nothing_left(self) -> None:
        """Compare the machine with what it was."""
        left = {
            "namespaces": namespaces.names(self.state.namespace_prefix),
            "processes": processes_of(self.state.root),
            "sockets": [str(path) for path in self.state.run.glob("*.sock")],
        }
        after = host_state()
        for name, value in after.items():
            left[name] = [] if value == self.before[name] else sorted(set(value) ^ set(self.before[name]))
        for name, found in left.items():
            say(f"   {name:<22} {found or 'none left'}")
        say("   queues                 went with the broker, which was private to this run")
        if any(left.values()):
            raise DemoFailed("something is left behind")

    def abandon(self) -> None:
        """After a failure: stop what runs."""
        if self._caller is not None:
            with suppress(OSError):
                self._caller.close()
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
        for server in self._servers:
            server.kill()
            server.wait()

    def devices(self) -> list[str]:
        """Namespaces of devices that are there."""
        return namespaces.names(f"{self.state.namespace_prefix}d-")

    def call(self, method: str, **args: object) -> Any:
        """Call the manager by RPC."""
        assert self._caller is not None
        return self._caller.call(method, **args)

    def lab_command(self, verb: str, *arguments: str) -> list[str]:
        """The command line of ``nfp lab``."""
        return [str(BIN / "nfp"), "lab", verb, "--state-dir", str(self.state.root), *arguments]

    def lab(self, verb: str, *arguments: str) -> None:
        """Run ``nfp lab``; its failure is ours."""
        done = subprocess.run(self.lab_command(verb, *arguments), capture_output=True, text=True)
        if done.returncode:
            raise DemoFailed(f"nfp lab {verb} {' '.join(arguments)}: {done.stdout}{done.stderr}")
        say(f"   {done.stdout.strip()}")

    def reach(self, host: str, address: str, port: int) -> str | None:
        """First line of the answer that a lab host gets from a port; ``None``: it gets none."""
        command = [sys.executable, "-c", PROBE, address, str(port)]
        done = subprocess.run(self.lab_command("run", host, "--", *command), capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    def logs(self) -> str:
        """The last errors in the logs."""
        found = []
        for path in sorted(self.state.log.glob("*.log")):
            lines = [
                line
                for line in path.read_text(errors="replace").splitlines()
                if '"level": "error"' in line or '"level": "critical"' in line or '"level": "warn"' in line
            ]
            found += [f"{path.name}: {line[:400]}" for line in lines[-3:]]
        return "\n".join(found)


def firewall(allow: int) -> Mapping[str, object]:
    """Rules that let one TCP port and pings through."""
    return {
        "firewall": {
            "default_action": "deny",
            "rules": [
                {
                    "name": f"allow-{allow}",
                    "protocol": "tcp",
                    "destination_port": str(allow),
                    "action": "allow",
                },
                {"name": "allow-ping", "protocol": "icmp", "action": "allow"},
            ],
        }
    }


def network_service(identity: str, allow: int) -> Mapping[str, object]:
    """A chain node as GBP describes it: a gateway between the provider's and a stitching network."""
    return {
        "id": identity,
        "name": "demo-firewall",
        "tenant_id": "demo",
        "service_id": str(uuid.uuid4()),
        "service_chain_id": str(uuid.uuid4()),
        "service_profile": {"service_type": "FIREWALL", "service_flavor": "nftables", "insertion_mode": "l3"},
        "service_config": firewall(allow),
        "provider": side("provider", PROVIDER_NETWORK, DEVICE_PROVIDER, "10.0.0.0/24", DEVICE_PROVIDER),
        "consumer": side("consumer", CONSUMER_NETWORK, DEVICE_CONSUMER, "10.0.1.0/28", CLIENT),
    }


def side(name: str, network: str, address: str, cidr: str, gateway: str) -> Mapping[str, object]:
    """One side of the node: its port, and the subnet that it is on."""
    subnet = str(uuid.uuid4())
    mac = "fa:16:3e:" + ":".join(f"{byte:02x}" for byte in os.urandom(3))
    port = {
        "id": str(uuid.uuid4()),
        "network_id": network,
        "mac_address": mac,
        "fixed_ips": [{"subnet_id": subnet, "ip_address": address}],
        "ip_address": address,
    }
    return {
        "pt": [],
        "ptg": [],
        "port": [port],
        "subnet": {"id": subnet, "network_id": network, "ip_version": 4, "cidr": cidr, "gateway_ip": gateway},
        "port_model": "neutron_port",
        "port_classification": name,
    }


def host_state() -> Mapping[str, Sequence[str]]:
    """Links and ruleset of the host itself."""
    ruleset = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True)
    return {
        "links of the host": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "nft rules of the host": ruleset.stdout.splitlines(),
    }


def processes_of(root: Path) -> list[str]:
    """Processes that were started for the state directory, by what they were told."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if os.fsencode(root) in told:
                found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
    return found


def print_durations(clock: Clock, out: IO[str]) -> None:
    """How long each part took."""
    out.write("\n== how long it took\n")
    for name, seconds in clock.parts:
        out.write(f"   {seconds:7.2f} s  {name}\n")
    out.write(f"   {sum(seconds for _, seconds in clock.parts):7.2f} s  in all\n")
    out.flush()


def fail(demo: Demo, error: BaseException) -> NoReturn:
    """Say which part failed and why, stop everything, and end with status 1."""
    say(f"\nFAILED in part {demo.clock.running!r}: {error or type(error).__name__}")
    say(demo.logs())
    demo.abandon()
    say(f"logs are kept in {demo.state.log}")
    sys.exit(1)


def main() -> None:
    """Run the demo."""
    directory = Path(tempfile.mkdtemp(prefix="nfp-demo-"))
    demo = Demo(directory)
    try:
        demo.run()
    except (
        DemoFailed,
        OSError,
        ValueError,
        KeyError,
        subprocess.SubprocessError,
        KeyboardInterrupt,
    ) as error:
        fail(demo, error)
    print_durations(demo.clock, sys.stdout)
    shutil.rmtree(directory)
    say("\nthe demo went well")


if __name__ == "__main__":
    main()
