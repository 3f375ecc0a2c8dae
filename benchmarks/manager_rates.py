"""Calls and durable casts per second of the real manager, beside a bare oslo.messaging server.

Run it with ``python -m benchmarks.manager_rates [--messages N] [--rounds N]``; needs no root.  A
run fills a queue, starts a server on it, and measures from the first message taken until the last
one is dealt with.  Starting up is in neither server's time.  The servers alternate, and medians are
printed.

``calls``    ``get_network_service`` of one of 300 services.  Done when all answers are in the
             caller's reply queue; each is read and must be the service asked for.
``updates``  casts of ``update_network_service`` with a new name and new rules for one of the 300 services:
             each is a write.  Done when the store, SQLite with ``synchronous=FULL``, has accepted all.
             The services are held, so converging them, which goes on meanwhile, does
             nothing outside; afterwards each service must be as the last update wants it.
``creates``  casts of ``create_network_service`` of new services with ports, subnets and rules.  Done when
             the store has accepted all.  The lifecycle driver has them wait, so no devices are made; that
             they are looked at, put off, and looked at again goes on meanwhile and costs what it costs.

Ours is ``twistd nfp-manager`` as an operator starts it, a listener and two workers, with SQLite and
a private RabbitMQ node.  oslo.messaging's threading server only counts the same messages, and gives
the same answer to calls: it checks nothing and stores nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import sqlalchemy as sa
from twisted.internet import defer, task

from benchmarks import rpc_rates
from benchmarks.rpc_rates import ROOT, drained, fill
from benchmarks.waiting_driver import WaitingDriver
from nfp.manager.registers import Stamp
from nfp.manager.service import TOPIC
from nfp.manager.store import accept, migrate, queries
from nfp.manager.store.engine import connected
from nfp.manager.store.tables import NetworkService
from nfp.rpc import envelope
from nfp.rpc.amqp.interfaces import Delivery, IChannel
from nfp.rpc.connection import RpcConnection
from nfp.rpc.options import RpcOptions
from nfp.rpc.topology import Topology
from nfp.rpc.url import BrokerURL
from tests.functional.broker import Broker

SERVICES = 300
STEP = 0.005
TWISTD = (
    *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
    *("-n", "--pidfile=", "--logger=nfp.daemon.journal.to_stderr", "nfp-manager"),
)
OSLO = (sys.executable, "-m", "benchmarks.manager_rates", "--oslo")
DRIVER = WaitingDriver.name
VENDORS = {"*": "nftables"}
_IDS = UUID("7d1c6f3e-6c0e-4b3f-9a55-0d5b0f6f7a10")

CONFIGURATION = """
[DEFAULT]
transport_url = {broker}
host = benchmark

[database]
connection = sqlite:///{database}

[manager]
lifecycle_driver = {driver}
vendor_map = *:nftables

[namespace]
fabric = nfp-bench-fab
prefix = fd00:0:0:1::
run_dir = {directory}
device_socket = {directory}/device.sock
device_server_name = device.benchmark
"""


# What is asked


def service_id(number: int) -> str:
    return str(uuid5(_IDS, str(number)))


def config(number: int) -> dict[str, Any]:
    rules = [
        {"name": "web", "protocol": "tcp", "destination_port": str(1 + number % 60000), "action": "allow"},
        {"name": "dns", "protocol": "udp", "destination_port": "53", "action": "allow"},
        {"name": "ping", "protocol": "icmp", "action": "allow"},
    ]
    return {"firewall": {"default_action": "deny", "rules": rules}}


def side(number: int, name: str, address: str, cidr: str) -> dict[str, Any]:
    subnet = {"id": str(uuid5(_IDS, f"{name} subnet {number}")), "cidr": cidr, "gateway_ip": address}
    port = {
        "id": str(uuid5(_IDS, f"{name} port {number}")),
        "network_id": str(uuid5(_IDS, f"{name} network {number}")),
        "mac_address": f"fa:16:3e:{number >> 8 & 255:02x}:{number & 255:02x}:{len(name):02x}",
        "fixed_ips": [{"subnet_id": subnet["id"], "ip_address": address}],
    }
    return {"pt": [], "ptg": [], "port": [port], "subnet": subnet}


def service(number: int) -> dict[str, Any]:
    """A ``network_service`` as a node driver sends it."""
    return {
        "id": service_id(number),
        "name": f"service {number}",
        "tenant_id": "8b6f2f6c1c5a4c0e8a5c7c9f5c3f0a11",
        "service_id": str(uuid5(_IDS, f"node {number}")),
        "service_chain_id": str(uuid5(_IDS, f"chain {number}")),
        "service_profile": {"service_type": "FIREWALL", "service_flavor": "nftables"},
        "service_config": config(number),
        "provider": side(number, "provider", "10.0.0.1", "10.0.0.0/24"),
        "consumer": side(number, "consumer", "10.0.1.7", "10.0.1.0/28"),
    }


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    :ivar args: of the n-th message.
    """

    name: str
    method: str
    args: Callable[[int], Mapping[str, object]]
    calls: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "calls",
            "get_network_service",
            lambda number: {"network_service_id": service_id(number % SERVICES)},
            calls=True,
        ),
        Kind(
            "updates",
            "update_network_service",
            lambda number: {
                "network_service_id": service_id(number % SERVICES),
                "network_service": {"name": f"update {number}", "service_config": config(number)},
            },
        ),
        Kind(
            "creates",
            "create_network_service",
            lambda number: {"network_service": service(SERVICES + number)},
        ),
    )
}


# Ours


def prepare(database: Path) -> dict[str, Any]:
    """Make a store with 300 services that are held; gives one of them as callers see it."""
    url = f"sqlite:///{database}"
    migrate.upgrade(url)
    table: Any = NetworkService.__table__
    with connected(url) as connection:
        for number in range(SERVICES):
            stamp = Stamp.of("2020-01-01 00:00:00", str(number))
            accept.create(connection, service(number), accept.Message(uuid4().hex, stamp, False, VENDORS))
        held = sa.update(table).values(held="for a benchmark", converged_revision=table.c.revision)
        connection.execute(held)
        connection.exec_driver_sql("DELETE FROM accepted_messages")
        connection.exec_driver_sql("DELETE FROM history")
        shown = queries.get(connection, service_id(0))
    assert shown is not None
    return shown


class Manager:
    """``twistd nfp-manager`` on a store of its own.

    :param workers: how many worker processes.
    """

    def __init__(self, directory: Path, broker: str, workers: int) -> None:
        self.database = directory / "nfp.db"
        text = CONFIGURATION.format(
            broker=broker, database=self.database, driver=DRIVER, directory=directory
        ).replace("[manager]\n", f"[manager]\nworkers = {workers}\n")
        (directory / "nfp.conf").write_text(text)
        site = directory / "site"
        (site / "nfp_benchmark-1.dist-info").mkdir(parents=True)
        said = f"[nfp.lifecycle_drivers]\n{DRIVER} = benchmarks.waiting_driver:make\n"
        (site / "nfp_benchmark-1.dist-info" / "entry_points.txt").write_text(said)
        (site / "nfp_benchmark-1.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: nfp_benchmark\nVersion: 1\n"
        )
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*TWISTD, "--config", str(directory / "nfp.conf")],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": f"{site}:{ROOT}"},
                stderr=log,
            )

    @property
    def running(self) -> bool:
        """Whether it lives.

        :raises RuntimeError: it ended by itself.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"the manager ended:\n{self._log.read_text()[-3000:]}")
        return True

    def processor_time(self) -> float:
        """Seconds of processor time that it and its workers have had."""
        return sum(_processor_time(pid) for pid in [self._process.pid, *_children(self._process.pid)])

    def accepted(self) -> int:
        """How many messages the store has accepted."""
        with closing(sqlite3.connect(self.database)) as connection:
            count: int = connection.execute("SELECT count(*) FROM accepted_messages").fetchone()[0]
            return count

    def stop(self) -> None:
        """Let it finish what it has."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Runs


class Runs:
    """Fills queues and times who drains them."""

    def __init__(self, reactor: Any, broker: Broker, workers: int) -> None:
        self._reactor = reactor
        self._address = broker.address
        self._workers = workers
        self._shown: dict[str, Any] = {}
        self._connection = RpcConnection(reactor, BrokerURL.parse(broker.address), RpcOptions())

    async def start(self) -> None:
        """Connect."""
        self._connection.startService()
        await self._connection.when_connected()

    async def stop(self) -> None:
        """Disconnect."""
        await self._connection.stopService()

    async def _fill(self, kind: Kind, count: int, topic: str, exchange: str, replies: str) -> IChannel:
        session = self._connection.session
        assert session is not None
        topology = Topology(session)
        await topology.exchange(exchange, "topic", durable=exchange == rpc_rates.EXCHANGE)
        await topology.queue(topic, durable=True)
        await topology.bind(topic, exchange, topic)
        await topology.transient(replies, quorum=False)
        await topology.close()
        channel: IChannel = await session.open_channel()
        await channel.confirm_mode()
        await fill(
            channel,
            topic,
            count,
            method=kind.method,
            args=kind.args,
            reply_queue=replies if kind.calls else None,
        )
        return channel

    async def _untouched(self, channel: IChannel, topic: str, count: int, alive: Callable[[], bool]) -> float:
        """The last time when the queue was still full."""
        last = self._reactor.seconds()
        while await _waiting(channel, topic) == count:
            last = self._reactor.seconds()
            alive()
            await task.deferLater(self._reactor, STEP / 2)
        return float(last)

    async def ours(self, kind: Kind, count: int) -> tuple[float, float]:
        """Messages per second of the manager, and microseconds of processor time for each."""
        replies = f"reply_{uuid4().hex}"
        channel = await self._fill(kind, count, TOPIC, "neutron", replies)
        with tempfile.TemporaryDirectory(prefix="nfp-bench-") as folder:
            self._shown = prepare(Path(folder) / "nfp.db")
            manager = Manager(Path(folder), self._address, self._workers)
            try:

                async def stored() -> int:
                    manager.running  # noqa: B018  it raises when it is not
                    return manager.accepted()

                async def answered() -> int:
                    return await _waiting(channel, replies)

                start = await self._untouched(channel, TOPIC, count, lambda: manager.running)
                before = manager.processor_time()
                await drained(self._reactor, answered if kind.calls else stored, count)
                seconds = self._reactor.seconds() - start
                spent = manager.processor_time() - before
                if kind.calls:
                    await self._check_answers(channel, replies, count)
                await defer.ensureDeferred(_in_thread(self._reactor, manager.stop))
                assert await _waiting(channel, TOPIC) == 0, "the manager did not acknowledge everything"
                _check_store(manager.database, kind, count)
            finally:
                manager.kill()
                await channel.delete_queue(TOPIC)
                await channel.delete_queue(replies)
                await channel.close()
        return count / seconds, spent / count * 1e6

    async def oslo(self, kind: Kind, count: int) -> tuple[float, float]:
        """The same of oslo.messaging's threading server."""
        topic, replies = f"bench-{uuid4().hex[:8]}", f"reply_{uuid4().hex}"
        channel = await self._fill(kind, count, topic, rpc_rates.EXCHANGE, replies)
        answer = self._shown if kind.calls else None
        process = subprocess.Popen(  # noqa: ASYNC220  it only starts
            [*OSLO, kind.method, self._address, topic, str(count), json.dumps(answer)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        told = process.stdout

        def alive() -> bool:
            if process.poll():
                raise RuntimeError("the oslo.messaging server failed")
            return True

        async def finished() -> int:
            if kind.calls:
                return await _waiting(channel, replies)
            alive()
            return count if select.select([told], [], [], 0)[0] else 0

        try:
            start = await self._untouched(channel, topic, count, alive)
            await drained(self._reactor, finished, count)
            seconds = self._reactor.seconds() - start
            if kind.calls:
                await self._check_answers(channel, replies, count)
            spent = json.loads((await _in_thread(self._reactor, told.read)).splitlines()[-1])["cpu"]
        finally:
            process.kill()
            process.wait()
            told.close()
            await channel.delete_queue(topic)
            await channel.delete_queue(replies)
            await channel.close()
        return count / seconds, spent / count * 1e6

    async def _check_answers(self, channel: IChannel, replies: str, count: int) -> None:
        """Read every answer."""
        found: list[envelope.Reply] = []

        def take(delivery: Delivery) -> None:
            found.append(envelope.read_reply(delivery.body))
            channel.ack(delivery.tag)

        consumer = await channel.consume(replies, take)

        async def read() -> int:
            return sum(reply.ending for reply in found)

        # oslo.messaging sends a result and its end in one message, as we do.
        await drained(self._reactor, read, count)
        await channel.cancel(consumer)
        for reply in found:
            result: Any = reply.result
            assert reply.failure is None, reply.failure
            assert result["status"] == self._shown["status"]
            assert result.keys() == self._shown.keys()


async def _waiting(channel: IChannel, queue: str) -> int:
    return await channel.declare_queue(queue, durable=False, passive=True)


async def _in_thread(reactor: Any, function: Callable[[], Any]) -> Any:
    from twisted.internet.threads import deferToThread

    return await deferToThread(function)


def _check_store(database: Path, kind: Kind, count: int) -> None:
    """What was asked last is what is wanted now."""
    with closing(sqlite3.connect(database)) as connection:
        names = dict(connection.execute("SELECT id, name FROM network_services"))
    if kind.name == "updates":
        last = range(max(0, count - SERVICES), count)
        wanted = {service_id(number % SERVICES): f"update {number}" for number in last}
    elif kind.name == "creates":
        wanted = {service_id(SERVICES + number): f"service {SERVICES + number}" for number in range(count)}
    else:
        wanted = {}
    assert names.items() >= wanted.items(), "the store is not as the last requests want it"


def oslo(method: str, address: str, topic: str, count: int, answer: object) -> None:
    """The server process of oslo.messaging."""
    rpc_rates.oslo(address, topic, count, method=method, answer=answer)


async def compare(reactor: Any, messages: int, rounds: int, workers: int, kinds: list[str]) -> None:
    """Run both, alternating, and print medians and ratios."""
    broker = Broker()
    broker.start()
    runs = Runs(reactor, broker, workers)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        await runs.start()
        for _ in range(rounds):
            for name in kinds:
                for who, run in _servers(runs):
                    found.setdefault((name, who), []).append(await run(KINDS[name], messages))
        await runs.stop()
    finally:
        broker.close()
    print(f"{messages} messages in the queue, {rounds} rounds, {workers} workers")
    for name in kinds:
        median = {}
        for who, _run in _servers(runs):
            rates = [rate for rate, _ in found[name, who]]
            median[who] = statistics.median(rates)
            spent = statistics.median(cpu for _, cpu in found[name, who])
            spread = f"{min(rates):.0f}-{max(rates):.0f}"
            print(f"  {name:8} {who:15} {median[who]:8.0f}/s ({spread}), {spent:6.0f} us of processor each")
        print(f"  {name:8} ratio {median['nfp-manager'] / median['oslo.messaging']:.2f}", flush=True)


def _servers(
    runs: Runs,
) -> Iterator[tuple[str, Callable[[Kind, int], Awaitable[tuple[float, float]]]]]:
    yield "nfp-manager", runs.ours
    yield "oslo.messaging", runs.oslo


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", "3")))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=tuple(KINDS), action="append")
    parser.add_argument("--oslo", metavar="METHOD", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.oslo:
        address, topic, count, answer = options.rest
        oslo(options.oslo, address, topic, int(count), json.loads(answer))
        return
    kinds = options.only or list(KINDS)
    task.react(
        lambda reactor: defer.ensureDeferred(
            compare(reactor, options.messages, options.rounds, options.workers, kinds)
        )
    )


if __name__ == "__main__":
    main()
