"""One ``nfp up`` in a directory of its own, with the test's eyes on all that it makes.

:func:`stack` gives the one deployment of this test process: started when first asked for, stopped and
removed at exit.  It dies with the test process.  Everything here blocks.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import amqp  # type: ignore[import-untyped]
import sqlalchemy as sa

from nfp.embedded.configuration import read_connection
from nfp.embedded.state_dir import StateDir
from nfp.manager.lifecycle.control import DeviceControl
from nfp.manager.lifecycle.fabric import MANAGEMENT_NETWORK, port_name
from nfp.manager.store.engine import with_driver
from nfp.manager.store.tables import (
    Base,
    History,
    NetworkService,
    NetworkServiceDevice,
    NetworkServiceInstance,
)
from nfp.model.errors import Transient
from nfp.netns import namespaces
from nfp.netns.links import list_links
from nfp.rpc.url import BrokerURL
from tests.functional.node_driver import NodeDriver

NFP = Path(sys.executable).with_name("nfp")
READY_SECONDS = 120.0
STOP_SECONDS = 60.0
SETTLE_SECONDS = 60.0
PAUSE_SECONDS = 0.02

TOPICS = ("nfp-service-manager", "nfp-configurator-agent")
COMPONENTS = ("device", "proxy", "configurator", "agent", "manager")
KEPT_TABLES = frozenset(
    ("accepted_messages", "tombstones", "history", "agents", "manager_hosts", "alembic_version")
)
"""What a service leaves in the store on purpose, and what is not about services."""


def until(
    found: Callable[[], Any], what: str, seconds: float = SETTLE_SECONDS, why: Callable[[], object] = str
) -> Any:
    """Wait for a condition, and give what it gave.

    :param why: asked for an explanation when it does not come true.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s\n{why()}")
        pause.wait(PAUSE_SECONDS)


class Stack:
    """A deployment.

    :param settings: options by section, beside those that ``nfp up`` writes.
    """

    def __init__(self, settings: Mapping[str, Mapping[str, object]] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nfp-e2e-", dir="/tmp"))
        self.state = StateDir.at(str(self.directory / "s"))
        self.said = self.directory / "said"
        self._config = self.directory / "own.conf"
        self._config.write_text(_ini(settings or {}))
        self._process: subprocess.Popen[bytes] | None = None
        self._node_driver: NodeDriver | None = None
        self._engine: sa.Engine | None = None

    # Life

    def start(self) -> None:
        """Start it and wait until it says that it is ready.

        :raises AssertionError: it does not become ready; with what it said.
        """
        with self.said.open("wb") as said:
            self._process = subprocess.Popen(
                # When the test process dies, it takes everything down as if told to.
                [
                    *("setpriv", "--pdeathsig=TERM", str(NFP), "up"),
                    *("--state-dir", str(self.state.root), "--config", str(self._config)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        process = self._process

        def ready() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"nfp up ended with {process.returncode}:\n{self.said.read_text()}")
            return "ready" in self.said.read_text().splitlines()

        until(ready, "nfp up is ready", READY_SECONDS, self.said.read_text)

    def stop(self) -> int:
        """Ask it to stop and wait; gives its exit status."""
        self._let_go()
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"nfp up does not stop:\n{self.said.read_text()}") from None

    def kill(self) -> None:
        """Kill every process of it at once, as when the machine's memory runs out."""
        self._let_go()
        assert self._process is not None
        process, self._process = self._process, None
        for pid in [process.pid, *(int(line.split()[0]) for line in self.processes())]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        until(lambda: not self.processes(), "all of it is dead", 10, lambda: "\n".join(self.processes()))

    def kill_supervisor(self) -> None:
        """Kill ``nfp up`` itself, and wait until all that it kept is gone too."""
        self._let_go()
        assert self._process is not None
        process, self._process = self._process, None
        process.kill()
        process.wait()
        until(lambda: not self.processes(), "all of it is dead", 10, lambda: "\n".join(self.processes()))

    def close(self) -> None:
        """Stop it and remove its directory."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _let_go(self) -> None:
        if self._node_driver is not None:
            self._node_driver.close()
            self._node_driver = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    # Requests

    @property
    def node_driver(self) -> NodeDriver:
        """GBP's side, connected to this deployment's broker."""
        if self._node_driver is None:
            self._node_driver = NodeDriver(self.state.transport_url)
        return self._node_driver

    def show(self, network_service_id: str) -> dict[str, Any] | None:
        """Ask for one service."""
        shown: dict[str, Any] | None = self.node_driver.call(
            "get_network_service", network_service_id=network_service_id
        )
        return shown

    def settle(self, network_service_id: str, status: str, seconds: float = SETTLE_SECONDS) -> dict[str, Any]:
        """Wait until a service has a status and nothing remains to be done; gives the service."""

        def there() -> dict[str, Any] | None:
            row = self.row(NetworkService, network_service_id)
            if row is None or row["status"] != status or row["revision"] != row["converged_revision"]:
                return None
            return self.show(network_service_id)

        found: dict[str, Any] = until(
            there,
            f"{network_service_id} is {status}",
            seconds,
            lambda: self.explain(network_service_id),
        )
        return found

    def gone(self, network_service_id: str, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until a service is no more."""
        until(
            lambda: self.row(NetworkService, network_service_id) is None,
            f"{network_service_id} is gone",
            seconds,
            lambda: self.explain(network_service_id),
        )

    # The store

    @property
    def engine(self) -> sa.Engine:
        """A way to the store that only reads, and so never waits for a writer."""
        if self._engine is None:
            self._engine = sa.create_engine(with_driver(read_connection(self.state)), pool_size=1)
        return self._engine

    def rows(self, model: Any, *conditions: Any) -> list[dict[str, Any]]:
        """Rows of the store."""
        with self.engine.connect() as connection:
            query = sa.select(model.__table__).where(*conditions)
            return [dict(row) for row in connection.execute(query).mappings()]

    def row(self, model: Any, identity: str) -> dict[str, Any] | None:
        """The row of that id."""
        found = self.rows(model, model.__table__.c.id == identity)
        return found[0] if found else None

    def history_rows(self, object_id: str) -> list[dict[str, Any]]:
        """What happened to an object, in order."""
        rows = self.rows(History, History.__table__.c.object_id == object_id)
        return sorted(rows, key=lambda row: row["id"])

    def history(self, object_id: str) -> list[str]:
        """The same in words."""
        return [f"{row['event']}: {row['reason']}" for row in self.history_rows(object_id)]

    def explain(self, network_service_id: str) -> str:
        """Everything known of a service and of all devices, for a failed assertion."""
        lines = [f"service {self.row(NetworkService, network_service_id)}", *self.history(network_service_id)]
        for device in self.rows(NetworkServiceDevice):
            lines += ["", f"device {device}", *self.history(device["id"])]
        return "\n".join([*lines, "", self.said.read_text(), *self.complaints(("warn", "error", "critical"))])

    # Processes

    def processes(self) -> list[str]:
        """Processes that were started for this state directory: id and name."""
        wanted, own = os.fsencode(self.state.root), {os.getpid()}
        if self._node_driver is not None:
            own.add(self._node_driver.pid)
        found = []
        for pid in (int(entry.name) for entry in Path("/proc").glob("[1-9]*")):
            with suppress(OSError):
                told = (Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes())
                if pid not in own and wanted in b"".join(told):
                    found.append(f"{pid} {_name_of(told[0])}")
        return sorted(found)

    def pid(self, name: str) -> int | None:
        """Id of a component's process, of ``rabbitmq`` or ``epmd``, while it runs."""
        assert self._process is not None
        children = _children(self._process.pid)
        return next((child for child in children if _name_of(_cmdline(child)) == name), None)

    def worker(self, component: str, index: int) -> int | None:
        """Id of a worker process of a component, while it runs."""
        parent = self.pid(component)
        if parent is None:
            return None
        return next((c for c in _children(parent) if f"--index={index}".encode() in _cmdline(c)), None)

    def kill_process(self, pid: int | None) -> None:
        """Kill one process of it, which must be there, with SIGKILL."""
        assert pid is not None, "no such process"
        os.kill(pid, signal.SIGKILL)

    # What there is

    def device_namespaces(self) -> list[str]:
        """Namespaces of devices."""
        return namespaces.names(f"{self.state.namespace_prefix}d-")

    def pull_the_cable(self, network_service_id: str) -> None:
        """Cut the management link of a service's device."""
        self._management_link(network_service_id, "down")

    def put_the_cable_in(self, network_service_id: str) -> None:
        """Mend it again."""
        self._management_link(network_service_id, "up")

    def _management_link(self, network_service_id: str, wanted: str) -> None:
        instances = NetworkServiceInstance.__table__
        (bound,) = self.rows(NetworkServiceInstance, instances.c.network_service_id == network_service_id)
        link = port_name(bound["nsd_id"], MANAGEMENT_NETWORK)
        subprocess.run(["ip", "-n", self.state.fabric, "link", "set", link, wanted], check=True)

    def inventory(self) -> dict[str, list[str]]:
        """All that a service could leave behind, by kind."""
        host = _host()
        return {
            "namespaces": namespaces.names(self.state.namespace_prefix),
            "links of the fabric": _links(self.state.fabric),
            "links of the host": host[0],
            "rules of the host": host[1],
            "rules of the fabric": _nft(self.state.fabric),
            "processes": sorted(self._kept_processes()),
            "sockets": sorted(path.name for path in self.state.run.glob("*.sock")),
            "records": sorted(path.name for path in (self.state.run / "devices").glob("*")),
            "devices served": self._served(),
            "device runtime's files": sorted(
                str(path.relative_to(self.state.device))
                for path in self.state.device.rglob("*")
                if path.is_file()
            ),
            "rows": self._counts(),
            "leases": self._leases(),
            "messages": self.messages(),
        }

    def settled_inventory(self, wanted: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """The inventory, as soon as it is the one wanted; else the last one seen."""
        seen: dict[str, list[str]] = {}

        def same() -> bool:
            nonlocal seen
            seen = self.inventory()
            return seen == wanted

        with suppress(AssertionError):
            until(same, "the inventory is as before", 10)
        return seen

    def remains(self) -> dict[str, list[str]]:
        """All that a stopped deployment could leave behind, by kind."""
        return {
            "namespaces": namespaces.names(self.state.namespace_prefix),
            "processes": self.processes(),
            "sockets": sorted(path.name for path in self.state.run.glob("*.sock")),
            "records": sorted(path.name for path in (self.state.run / "devices").glob("*")),
            "device runtime's files": sorted(path.name for path in self.state.device.glob("*")),
        }

    def ports(self) -> list[int]:
        """Ports of the broker, its distribution and its port mapper."""
        access = json.loads((self.state.rabbitmq / "access.json").read_text())
        return [access[name] for name in ("port", "distribution", "mapper")]

    def messages(self) -> list[str]:
        """Our queues with messages that nobody has taken.

        Those of answers are not looked at: the clients of some are dead, and they expire.
        """
        broker = BrokerURL.parse(self.state.transport_url.read_text())
        told = {"userid": broker.username, "password": broker.password.reveal(), "virtual_host": broker.vhost}
        queues = [name for topic in TOPICS for name in (topic, f"{topic}.{socket.gethostname()}")]
        with amqp.Connection(":".join(map(str, broker.hosts[0])), **told) as connection:
            channel = connection.channel()
            counts = {name: channel.queue_declare(name, passive=True).message_count for name in queues}
        return sorted(f"{name} {count}" for name, count in counts.items() if count)

    def _kept_processes(self) -> list[str]:
        """Names of its processes, without those that Erlang starts and ends as it likes."""
        names = (line.split(" ", 1)[1] for line in self.processes())
        return [name for name in names if name not in ("erl_child_setup", "inet_gethost", "sh")]

    def _served(self) -> list[str]:
        try:
            return sorted(DeviceControl(str(self.state.device_socket), 5.0).served())
        except (OSError, Transient) as error:
            return [str(error)]

    def _counts(self) -> list[str]:
        tables = [table for table in Base.metadata.sorted_tables if table.name not in KEPT_TABLES]
        with self.engine.connect() as connection:
            counts = {
                table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in tables
            }
        return sorted(f"{name} {number}" for name, number in counts.items())

    def _leases(self) -> list[str]:
        held = [row for model in (NetworkService, NetworkServiceDevice) for row in self.rows(model)]
        return sorted(f"{row['id']} {row['lease_owner']}" for row in held if row["lease_owner"])

    # The logs

    def log_mark(self) -> dict[str, int]:
        """How long each log is now."""
        return {path.name: path.stat().st_size for path in self.state.log.glob("*.log")}

    def complaints(
        self,
        levels: Sequence[str] = ("error", "critical"),
        expected: Sequence[str] = (),
        since: Mapping[str, int] | None = None,
    ) -> list[str]:
        """Lines of our processes' logs that complain, and lines that are no journal's.

        :param expected: regular expressions of those that are in order.
        :param since: a :meth:`log_mark`, from which on to read.
        """
        found = []
        for name in (*COMPONENTS, "up"):
            path = self.state.log / f"{name}.log"
            text = path.read_bytes()[(since or {}).get(path.name, 0) :] if path.exists() else b""
            for line in text.decode(errors="replace").splitlines():
                told = _complaint(line, levels)
                if told is not None and not any(re.search(pattern, told) for pattern in expected):
                    found.append(f"{name} {told}")
        return found

    def spilt_secrets(self) -> list[str]:
        """Where the broker's password or a private key can be read that should not be there."""
        secrets = {
            "the broker's password": json.loads((self.state.rabbitmq / "access.json").read_text())["password"]
        }
        for path in self.state.pki.glob("*.*"):
            key = re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+(\S+)", path.read_text())
            if key is not None:
                secrets[f"the key in {path.name}"] = key[1]
        assert len(secrets) > 3, "the certificates' keys are not where they are looked for"
        places = {path.name: path.read_bytes() for path in self.state.log.iterdir()}
        places["what nfp up said"] = self.said.read_bytes()
        for line in self.processes():
            with suppress(OSError):
                places[f"the command line of {line}"] = _cmdline(int(line.split()[0]))
        return [
            f"{what} in {where}"
            for what, secret in secrets.items()
            for where, text in places.items()
            if secret.encode() in text
        ]


@lru_cache(maxsize=1)
def stack() -> Stack:
    """The deployment of this test process, running."""
    made = Stack()
    atexit.register(made.close)
    made.start()
    return made


def _complaint(line: str, levels: Sequence[str]) -> str | None:
    """What a line of a log complains of."""
    try:
        told = json.loads(line)
    except ValueError:
        return f"not a line of the journal: {line}"
    if told["level"] not in levels and "traceback" not in told:
        return None
    words = (
        told["time"],
        told["component"],
        told["level"],
        told.get("text") or told["event"],
        *(told.get("reason") or "", told.get("traceback") or ""),
    )
    return " ".join(words).rstrip()


def _ini(settings: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for section, options in settings.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in options.items())]
    return "\n".join(lines) + "\n"


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found


def _name_of(cmdline: bytes) -> str:
    """What a process is, from its command line."""
    words = cmdline.decode(errors="replace").split("\0")
    component = next((word for word in words if word.startswith("nfp-")), None)
    if component is not None and "-n" in words:
        return component.removeprefix("nfp-")
    group = next((word for word in words if word.startswith("--group=nfp.")), None)
    if group is not None:
        index = next(word for word in words if word.startswith("--index="))
        return f"{group.removeprefix('--group=nfp.').removesuffix('_modules')} worker {index[8:]}"
    program = Path(words[0]).name
    if program == "beam.smp":
        return "rabbitmq"
    return "nfp up" if "up" in words else program


def _links(namespace: str | None) -> list[str]:
    if namespace is not None and not namespaces.exists(namespace):
        return []
    return sorted(link.name for link in list_links(namespace))


def _nft(namespace: str) -> list[str]:
    if not namespaces.exists(namespace):
        return []
    command = ["ip", "netns", "exec", namespace, "nft", "list", "ruleset"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _host() -> tuple[list[str], list[str]]:
    listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True)
    return _links(None), listed.stdout.splitlines()
