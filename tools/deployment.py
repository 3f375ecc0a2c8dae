"""Drives a deployment from outside, as a user would: ``nfp up``, ``nfp lab``, RPC by oslo.messaging.

The demo, the tests and the benchmarks share it.  All of it blocks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nfp.embedded.state_dir import StateDir
from nfp.netns import namespaces

ROOT = Path(__file__).resolve().parent.parent
NFP = str(Path(sys.executable).parent / "nfp")
READY_SECONDS = 150.0
STOP_SECONDS = 60.0
SETTLE_SECONDS = 60.0
PROBE_SECONDS = 1.5

PROBE = f"""
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), {PROBE_SECONDS}) as connection:
        connection.settimeout({PROBE_SECONDS})
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(connection.recv(100).split(b"\\r\\n")[0].decode())
except OSError as error:
    sys.exit(f"no answer ({{type(error).__name__}}: {{error}})")
"""


class DeploymentError(Exception):
    """Something is not as it must be."""


def until(found: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition.

    :raises DeploymentError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not found():
        if time.monotonic() > deadline:
            raise DeploymentError(f"{what}: not within {seconds:g} s")
        pause.wait(0.05)


class Caller:
    """oslo.messaging's own client, in a process of its own."""

    def __init__(self, transport_url: Path) -> None:
        program = [sys.executable, "-W", "ignore", str(ROOT / "tools" / "oslo_caller.py"), str(transport_url)]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, method: str, **args: object) -> Any:
        """Call the manager.

        :raises DeploymentError: it answered with an error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"method": method, "args": args}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise DeploymentError(f"the RPC client ended during {method}")
        answer = json.loads(line)
        if "error" in answer:
            raise DeploymentError(f"{method} was answered with {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Let the client end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Deployment:
    """One ``nfp up``.

    :ivar said: the file that holds what it printed.
    """

    def __init__(self, directory: Path) -> None:
        self.state = StateDir.at(str(directory / "state"))
        self.said = directory / "up.out"
        self.process: subprocess.Popen[bytes] | None = None
        self._caller: Caller | None = None
        self._servers: list[subprocess.Popen[bytes]] = []

    # Life

    def up(self, *options: str) -> None:
        """Start ``nfp up`` and wait until it says that it is ready."""
        with self.said.open("w") as out:
            self.process = subprocess.Popen(
                [NFP, "up", "--state-dir", str(self.state.root), *options],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise DeploymentError(f"nfp up ended:\n{self.said.read_text()}")
            return "ready" in self.said.read_text().splitlines()

        until(ready, READY_SECONDS, "nfp up becomes ready")

    def stop(self) -> int:
        """Stop it by SIGTERM; gives its exit status."""
        self.hang_up()
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill_group(self) -> None:
        """Kill it by SIGKILL, with every process of its group."""
        self.hang_up()
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def abandon(self) -> None:
        """Stop whatever runs, however it went."""
        self.hang_up()
        for server in self._servers:
            server.kill()
            server.wait()
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill_group()

    def pid_of(self, component: str) -> int:
        """Process id of a component, as it was when ``ready`` was said."""
        for line in self.said.read_text().splitlines():
            words = line.split()
            if words[:2] == [component, "process"]:
                return int(words[2])
        raise DeploymentError(f"nfp up did not say which process {component} is")

    # RPC

    def call(self, method: str, **args: object) -> Any:
        """Call the manager by RPC."""
        if self._caller is None:
            self._caller = Caller(self.state.transport_url)
        return self._caller.call(method, **args)

    def hang_up(self) -> None:
        """Let the RPC client go; the next call makes another."""
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()

    def follow(
        self, service: str, wanted: str | None, on_change: Callable[[Mapping[str, Any] | None], None]
    ) -> Mapping[str, Any] | None:
        """Tell each change of a service until its status is *wanted*; ``None``: until it is gone.

        :raises DeploymentError: it is in ERROR, or takes too long.
        """
        last: object = object()
        deadline = time.monotonic() + SETTLE_SECONDS
        pause = threading.Event()
        while True:
            found: Mapping[str, Any] | None = self.call("get_network_service", network_service_id=service)
            shown = (found["status"], found.get("status_description")) if found else (None, None)
            if shown != last:
                last = shown
                on_change(found)
            if shown[0] == wanted:
                return found
            if shown[0] == "ERROR":
                raise DeploymentError(f"the service is in ERROR: {shown[1]}")
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"after {SETTLE_SECONDS:g} s the service is {shown[0]} ({shown[1]}), not {wanted}"
                )
            pause.wait(0.02)

    # Packets

    def lab_command(self, verb: str, *arguments: str) -> list[str]:
        """The command line of ``nfp lab``."""
        return [NFP, "lab", verb, "--state-dir", str(self.state.root), *arguments]

    def lab(self, verb: str, *arguments: str) -> str:
        """Run ``nfp lab``; its failure is ours."""
        done = subprocess.run(self.lab_command(verb, *arguments), capture_output=True, text=True)
        if done.returncode:
            raise DeploymentError(f"nfp lab {verb} {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def serve(self, host: str, directory: Path, ports: Sequence[int]) -> None:
        """Run web servers on a lab host, and wait until they answer there."""
        for port in ports:
            command = [sys.executable, "-m", "http.server", "--directory", str(directory), str(port)]
            self._servers.append(
                subprocess.Popen(
                    self.lab_command("run", host, "--", *command),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        for port in ports:
            until(lambda port=port: self.reach(host, "127.0.0.1", port)[0], 30, f"a server on port {port}")  # type: ignore[misc]

    def reach(self, host: str, address: str, port: int) -> tuple[bool, str]:
        """Whether a lab host gets an answer from a port; with the answer's first line, or why not."""
        command = [sys.executable, "-c", PROBE, address, str(port)]
        done = subprocess.run(self.lab_command("run", host, "--", *command), capture_output=True, text=True)
        return done.returncode == 0, (done.stdout or done.stderr).strip()

    def devices(self) -> list[str]:
        """Namespaces of devices that are there."""
        return namespaces.names(f"{self.state.namespace_prefix}d-")

    # What is left

    def left(self) -> Mapping[str, Sequence[str]]:
        """What of this deployment is still on the machine."""
        return {
            "namespaces": namespaces.names(self.state.namespace_prefix),
            "processes": processes_of(self.state.root),
            "sockets": [str(path) for path in self.state.run.glob("*.sock")],
        }


def processes_of(root: Path) -> list[str]:
    """Processes that were started for a state directory, by what they were told."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if os.fsencode(root) in told:
                found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
    return found


def example(name: str) -> dict[str, Any]:
    """What an example file holds."""
    found: dict[str, Any] = json.loads((ROOT / "examples" / f"{name}.json").read_text())
    return found


def chain_node() -> dict[str, Any]:
    """The firewall of the examples as a chain node of its own."""
    return {
        **example("firewall"),
        "id": str(uuid.uuid4()),
        "service_id": str(uuid.uuid4()),
        "service_chain_id": str(uuid.uuid4()),
    }
