"""How long it takes from an event on a device until the store has it.

Run it with ``python -m benchmarks.device_events [--firewalls N] [--rounds N]`` as root.  In a
deployment of ``nfp up`` with one device for each firewall, three kinds of event are made:

``DOWN``    the device runtime is stopped (SIGSTOP): all devices go DOWN, each by its own probes;
``UP``      it goes on (SIGCONT): all come UP, about at once;
``result``  a firewall gets new rules, one firewall after another.

So ``DOWN`` and ``UP`` come in bursts, each event making its device and its service converge while the next
ones are on their way; a ``result`` comes alone.

The time of a health event is the ``since`` that the monitor gave its verdict; that of a result is
when the device runtime wrote down what it had applied (the file's time: a few ms coarse).  An event
is stored when a reader, which looks every 2 ms, sees its line in the committed history.  Between the
two are: configurator worker and listener, long poll through the proxy, agent, broker, manager listener
and worker, and the transaction.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet import defer, task, threads

from benchmarks.first_chain import CONFIG, LIMIT, TOPIC, Hosts, request
from nfp.embedded.state_dir import StateDir
from nfp.rpc.client import RpcClient
from nfp.rpc.connection import RpcConnection
from nfp.rpc.options import RpcOptions
from nfp.rpc.url import BrokerURL

AIM = 0.050
LOOK = 0.002
NFP = (
    sys.executable,
    "-c",
    "import sys; from nfp.operator.cli.main import main; sys.exit(main(sys.argv[1:]))",
)


@dataclass(frozen=True)
class Seen:
    """A line of history of interest, and when it was there for others to see.

    :ivar since: of a device's health, as it was stored with the line.
    """

    object_id: str
    event: str
    at: float
    since: float


class Watch:
    """Reads the history as it grows, in a thread of its own."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._end.set()
        self._thread.join()

    def take(self, wanted: Callable[[Seen], bool]) -> list[Seen]:
        """What has been seen so far and is wanted."""
        with self._lock:
            return [seen for seen in self._seen if wanted(seen)]

    def wait(self, count: int, wanted: Callable[[Seen], bool], seconds: float = LIMIT) -> list[Seen]:
        """Wait until *count* wanted lines have been seen.

        :raises TimeoutError: there are fewer.
        """
        end = time.monotonic() + seconds
        while len(found := self.take(wanted)) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(found)} events of {count} after {seconds:g} s")
            self._end.wait(LOOK)
        return found

    def _run(self) -> None:
        with closing(sqlite3.connect(self._database, isolation_level=None)) as connection:
            last = connection.execute("SELECT coalesce(max(id), 0) FROM history").fetchone()[0]
            while not self._end.wait(LOOK):
                query = "SELECT id, object_id, event FROM history WHERE id > ? ORDER BY id"
                rows = connection.execute(query, (last,)).fetchall()
                now = time.time()
                last = rows[-1][0] if rows else last
                for _, object_id, event in rows:
                    since = _since(connection, object_id) if event.startswith("health ") else 0.0
                    with self._lock:
                        self._seen.append(Seen(object_id, event, now, since))


def _since(connection: sqlite3.Connection, device_id: str) -> float:
    query = "SELECT observed FROM network_service_devices WHERE id = ?"
    observed = json.loads(connection.execute(query, (device_id,)).fetchone()[0])
    return datetime.fromisoformat(observed["health"]["since"]).timestamp()


class Deployment:
    """``nfp up`` in a directory of its own."""

    def __init__(self) -> None:
        self.state = StateDir.at(tempfile.mkdtemp(prefix="nfp-bench-"))
        self._process = subprocess.Popen(
            [*NFP, "up", "--state-dir", str(self.state.root)], stdout=subprocess.PIPE, text=True
        )
        self.device_runtime = 0

    def wait(self) -> None:
        """Wait until it is ready, and learn which process the device runtime is.

        :raises RuntimeError: it does not become ready.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = line.split()
            if words and words[0] in ("device", "nfp-device") and words[1:2] == ["process"]:
                self.device_runtime = int(words[2])
            if self.device_runtime and words[0].endswith("manager"):
                break
        if not self.device_runtime:
            raise RuntimeError("nfp up did not get ready")
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def signal(self, number: int) -> None:
        """Send a signal to the device runtime."""
        os.kill(self.device_runtime, number)

    def stop(self) -> None:
        """Take it down."""
        if self.device_runtime:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait(120)
        shutil.rmtree(self.state.root, ignore_errors=True)


async def create(client: RpcClient, watch: Watch, firewalls: int) -> list[str]:
    """Have firewalls made, each on a device of its own; gives their ids once all are healthy."""
    made = []
    for number in range(firewalls):
        wanted = {**request(Hosts("", uuid.uuid4().hex[:8])), "tenant_id": f"bench-{number}"}
        service: Any = await client.call(
            TOPIC, "create_network_service", {"network_service": wanted}, timeout=LIMIT
        )
        made.append(service["id"])
    await threads.deferToThread(watch.wait, firewalls, lambda seen: seen.event == "health UP", 120.0)
    end = time.monotonic() + 120.0
    while True:
        services: Any = await client.call(TOPIC, "get_network_services", {}, timeout=LIMIT)
        if len(services) == firewalls and all(service["status"] == "ACTIVE" for service in services):
            return made
        if time.monotonic() > end:
            raise TimeoutError("not every firewall is ACTIVE")
        await threads.deferToThread(threading.Event().wait, 0.2)


async def health(deployment: Deployment, watch: Watch, firewalls: int) -> dict[str, list[float]]:
    """Stop the device runtime and let it go on; seconds from each verdict to the store."""
    found = {}
    for number, event in ((signal.SIGSTOP, "health DOWN"), (signal.SIGCONT, "health UP")):
        begin = time.time()

        def wanted(seen: Seen, event: str = event, begin: float = begin) -> bool:
            return seen.event == event and seen.at > begin

        deployment.signal(number)
        seen = await threads.deferToThread(watch.wait, firewalls, wanted, 60.0)
        found[event.removeprefix("health ")] = [one.at - one.since for one in seen]
    return found


async def results(
    client: RpcClient, deployment: Deployment, watch: Watch, services: list[str], turn: int
) -> list[float]:
    """Give each firewall new rules; seconds from when its device had applied them to the store."""
    found = []
    for service_id in services:
        begin = time.time()

        def wanted(seen: Seen, service_id: str = service_id, begin: float = begin) -> bool:
            return seen.event == "result" and seen.object_id == service_id and seen.at > begin

        rule = {"protocol": "tcp", "destination_port": str(1000 + turn), "action": "allow"}
        changed = {"firewall": {"rules": [*CONFIG["firewall"]["rules"], rule]}}
        args = {"network_service_id": service_id, "network_service": {"service_config": changed}}
        await client.cast(TOPIC, "update_network_service", args)
        (seen,) = await threads.deferToThread(watch.wait, 1, wanted)
        applied = _device_file(deployment.state, service_id).stat().st_mtime
        assert applied > begin - 0.01, "the device has not written anything down"
        found.append(seen.at - applied)
    return found


def _device_file(state: StateDir, service_id: str) -> Path:
    query = "SELECT nsd_id FROM network_service_instances WHERE network_service_id = ?"
    with closing(sqlite3.connect(state.database)) as connection:
        return state.device / f"{connection.execute(query, (service_id,)).fetchone()[0]}.json"


def percentile(values: list[float], part: float) -> float:
    """The smallest value that at least *part* of all do not exceed."""
    return sorted(values)[math.ceil(part * len(values)) - 1]


def show(what: str, seconds: list[float]) -> None:
    """Print a line."""
    print(
        f"  {what:<8} {len(seconds):5} events: p50 {1000 * statistics.median(seconds):6.1f} ms,"
        f" p99 {1000 * percentile(seconds, 0.99):6.1f} ms, max {1000 * max(seconds):6.1f} ms",
        flush=True,
    )


async def bench(reactor: Any, deployment: Deployment, firewalls: int, rounds: int) -> None:
    """Measure on a deployment that is ready."""
    state = deployment.state
    url = BrokerURL.parse(state.transport_url.read_text().strip())
    connection = RpcConnection(reactor, url, RpcOptions())
    client = RpcClient(connection)
    connection.startService()
    watch = Watch(state.database)
    found: dict[str, list[float]] = {"DOWN": [], "UP": [], "result": []}
    try:
        services = await create(client, watch, firewalls)
        for turn in range(rounds):
            for name, seconds in (await health(deployment, watch, firewalls)).items():
                found[name] += seconds
            found["result"] += await results(client, deployment, watch, services, turn)
    finally:
        watch.stop()
        await client.close()
        await connection.stopService()
    print(f"device event → store, {firewalls} firewalls, {rounds} rounds (aim: p99 below {1000 * AIM:g} ms)")
    for name, seconds in found.items():
        show(name, seconds)
    show("all", [one for seconds in found.values() for one in seconds])


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--firewalls", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", "3")))
    options = parser.parse_args()
    deployment = Deployment()
    try:
        deployment.wait()
        task.react(
            lambda reactor: defer.ensureDeferred(
                bench(reactor, deployment, options.firewalls, options.rounds)
            )
        )
    finally:
        deployment.stop()


if __name__ == "__main__":
    main()
