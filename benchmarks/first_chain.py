"""One firewall: RPC sent → ACTIVE and → first passed packet, beside a plain script of the same work.

Run it with ``python -m benchmarks.first_chain [--rounds N]`` as root.  Each round does both: the script
makes a namespace with three interfaces and one nftables transaction, in process, by batched
rtnetlink; ours does it from ``create_network_service`` through broker, manager, agent, proxy,
configurator and device runtime.  A client sends a datagram each half millisecond until one comes
through.  Also printed: update → ACTIVE, delete → gone, and for ours where the time goes.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import defer, task, threads

from nfp.device import ruleset
from nfp.device.nft import Nft
from nfp.embedded.state_dir import StateDir
from nfp.manager.lifecycle.fabric import bridge_name
from nfp.model import firewall
from nfp.model.digest import digest
from nfp.netns import links, namespaces
from nfp.netns.inside import inside, set_sysctls
from nfp.netns.links import Nic, RouteSpec
from nfp.rpc.client import RpcClient
from nfp.rpc.connection import RpcConnection
from nfp.rpc.envelope import Request
from nfp.rpc.options import RpcOptions
from nfp.rpc.server import RpcServer
from nfp.rpc.url import BrokerURL

TOPIC = "nfp-service-manager"
PORT = 80
LIMIT = 30.0
MACS = {"provider": "fa:16:3e:00:00:01", "consumer": "fa:16:3e:00:00:02"}
CONFIG = {
    "firewall": {
        "rules": [
            {"name": "web", "protocol": "tcp", "destination_port": "80", "action": "allow"},
            {"name": "probe", "protocol": "udp", "destination_port": "80", "action": "allow"},
        ]
    }
}


class Hosts:
    """A provider host that listens and a consumer host that sends, on two networks of their own."""

    def __init__(self, fabric: str, tag: str) -> None:
        self._fabric = fabric
        self.networks = {side: f"net-{side}-{tag}" for side in ("provider", "consumer")}
        self.bridges = {side: f"x{tag[:6]}{side[0]}" for side in self.networks}
        self._names = {side: f"nfpbench-{tag}-{side[0]}" for side in self.networks}

    def make(self, bridges: dict[str, str]) -> None:
        """Put both on *bridges*."""
        for side, address, gateway in (
            ("provider", "10.0.0.10/24", "10.0.0.1"),
            ("consumer", "10.0.1.3/28", "10.0.1.7"),
        ):
            name = self._names[side]
            nic = Nic("eth0", bridges[side], f"h{name[-8:]}", None, (address,))
            links.build(name, self._fabric, [nic], [RouteSpec("0.0.0.0/0", gateway)])
            subprocess.run(
                ["ip", "-n", name, "neigh", "replace", gateway, "lladdr", MACS[side], "dev", "eth0"],
                check=True,
            )

    def first_packet(self) -> Callable[[], float]:
        """Begin to send; what it gives waits for the first datagram that comes through, and says when."""
        receiving = inside(self._names["provider"], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        receiving.bind(("10.0.0.10", PORT))
        receiving.settimeout(LIMIT)
        sending = inside(self._names["consumer"], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        done = threading.Event()
        arrived: list[float] = []

        def send() -> None:
            while not done.wait(0.0005):
                try:
                    sending.sendto(b"?", ("10.0.0.10", PORT))
                except OSError:
                    continue

        def receive() -> None:
            try:
                receiving.recv(16)
                arrived.append(time.perf_counter())
            finally:
                done.set()

        workers = [threading.Thread(target=send), threading.Thread(target=receive)]
        for worker in workers:
            worker.start()

        def wait() -> float:
            for worker in workers:
                worker.join()
            sending.close()
            receiving.close()
            if not arrived:
                raise TimeoutError("no datagram came through")
            return arrived[0]

        return wait

    def remove(self) -> None:
        for name in self._names.values():
            namespaces.delete(name)


def script(hosts: Hosts, fabric: str, tag: str) -> tuple[float, float]:
    """The same links and the same nftables work, and nothing else; (done, first packet) in seconds."""
    for bridge in hosts.bridges.values():
        links.ensure_bridge(fabric, bridge)
    hosts.make(hosts.bridges)
    name = f"nfpbench-{tag}-fw"
    tree = firewall.normalise(CONFIG)
    text = ruleset.script(
        str(uuid.uuid4()), tree["firewall"], digest=digest(tree), slot=0, generation=1, replaces=None,
        management_address="192.0.2.1",
    )  # fmt: skip
    wait = hosts.first_packet()
    start = time.perf_counter()
    nics = [
        Nic("eth0", f"m{tag[:6]}", f"m{tag[:8]}", None, ("192.0.2.1/24",)),
        Nic("eth1", hosts.bridges["provider"], f"p{tag[:8]}", MACS["provider"], ("10.0.0.1/24",)),
        Nic("eth2", hosts.bridges["consumer"], f"c{tag[:8]}", MACS["consumer"], ("10.0.1.7/28",)),
    ]
    links.build(name, fabric, nics)

    def apply() -> None:
        with Nft() as nft:
            nft.transaction(text)

    inside(name, apply)
    set_sysctls(name, {"net/ipv4/ip_forward": "1"})  # not before something judges what is forwarded
    done = time.perf_counter()
    first = wait()
    namespaces.delete(name)
    hosts.remove()
    return done - start, first - start


def request(hosts: Hosts) -> dict[str, Any]:
    """A ``network_service`` in GBP's shape."""

    def side(name: str, address: str, cidr: str) -> dict[str, Any]:
        subnet = f"{name}-{uuid.uuid4().hex[:8]}"
        port = {
            "id": str(uuid.uuid4()),
            "network_id": hosts.networks[name],
            "mac_address": MACS[name],
            "fixed_ips": [{"subnet_id": subnet, "ip_address": address}],
        }
        return {"port": [port], "subnet": {"id": subnet, "cidr": cidr, "gateway_ip": address}}

    return {
        "tenant_id": "bench",
        "service_id": str(uuid.uuid4()),
        "service_chain_id": str(uuid.uuid4()),
        "service_profile": {"service_type": "FIREWALL", "service_flavor": "nftables"},
        "service_config": CONFIG,
        "provider": side("provider", "10.0.0.1", "10.0.0.0/24"),
        "consumer": side("consumer", "10.0.1.7", "10.0.1.0/28"),
    }


class Statuses:
    """When each service reached each status, as the node drivers are told."""

    def __init__(self, reactor: Any, connection: RpcConnection) -> None:
        self._reactor = reactor
        self._waiting: dict[str, defer.Deferred[float]] = {}
        self.server = RpcServer(
            connection,
            "nfp-node-driver",
            f"bench-{uuid.uuid4().hex[:6]}",
            self._told,
            durable=False,
            prefetch=100,
        )

    async def _told(self, request: Request) -> object:
        status: Any = request.args
        waiting = self._waiting.pop(status["status"], None)
        if waiting is not None:
            waiting.callback(time.perf_counter())
        return None

    async def when(self, status: str) -> float:
        self._waiting[status] = defer.Deferred()
        return await self._waiting[status].addTimeout(LIMIT, self._reactor)


async def ours(client: RpcClient, statuses: Statuses, hosts: Hosts, state: StateDir) -> dict[str, float]:
    """A whole life of a service; seconds from each request to its effect."""
    await threads.deferToThread(hosts.make, {side: bridge_name(net) for side, net in hosts.networks.items()})
    wait = hosts.first_packet()
    figures = {}
    active = defer.Deferred.fromCoroutine(statuses.when("ACTIVE"))
    start = time.perf_counter()
    service: Any = await client.call(
        TOPIC, "create_network_service", {"network_service": request(hosts)}, timeout=LIMIT
    )
    figures["accepted"] = time.perf_counter() - start
    figures["ACTIVE"] = await active - start
    figures["first packet"] = await threads.deferToThread(wait) - start
    changed = {"firewall": {"rules": [*CONFIG["firewall"]["rules"], {"protocol": "icmp", "action": "allow"}]}}
    active = defer.Deferred.fromCoroutine(statuses.when("ACTIVE"))
    start = time.perf_counter()
    args = {"network_service_id": service["id"], "network_service": {"service_config": changed}}
    await client.cast(TOPIC, "update_network_service", args)
    figures["update"] = await active - start
    gone = defer.Deferred.fromCoroutine(statuses.when("DELETED"))
    start = time.perf_counter()
    await client.cast(TOPIC, "delete_network_service", {"network_service_id": service["id"]})
    figures["delete"] = await gone - start
    await threads.deferToThread(hosts.remove)
    return figures


def show(what: str, seconds: list[float]) -> None:
    in_ms = sorted(1000 * value for value in seconds)
    print(
        f"  {what:<34} median {statistics.median(in_ms):7.1f} ms   min {in_ms[0]:7.1f}   max {in_ms[-1]:7.1f}"
    )


async def bench(reactor: Any, rounds: int, directory: str) -> None:
    state = StateDir(Path(directory))
    url = BrokerURL.parse(state.transport_url.read_text().strip())
    connection = RpcConnection(reactor, url, RpcOptions())
    client, statuses = RpcClient(connection), Statuses(reactor, connection)
    connection.startService()
    statuses.server.startService()
    await statuses.server.when_ready()
    plain: list[tuple[float, float]] = []
    whole: list[dict[str, float]] = []
    fabric = f"nfpbench-{uuid.uuid4().hex[:6]}-fab"
    namespaces.create(fabric)
    try:
        for number in range(rounds + 1):
            tag = uuid.uuid4().hex[:8]
            first = await threads.deferToThread(script, Hosts(fabric, tag), fabric, tag)
            second = await ours(client, statuses, Hosts(state.fabric, tag), state)
            if number:  # the first round warms both up
                plain.append(first)
                whole.append(second)
    finally:
        namespaces.delete(fabric)
    await client.close()
    await statuses.server.stopService()
    await connection.stopService()
    print(f"one firewall, {rounds} rounds, alternating")
    show("plain script: done", [done for done, _ in plain])
    show("plain script: first packet", [first for _, first in plain])
    for name in whole[0]:
        show(
            f"nfp: RPC sent → {name}" if name in ("accepted", "ACTIVE", "first packet") else f"nfp: {name}",
            [f[name] for f in whole],
        )
    ratio = statistics.median(f["first packet"] for f in whole) / statistics.median(
        first for _, first in plain
    )
    active = statistics.median(f["ACTIVE"] for f in whole) / statistics.median(done for done, _ in plain)
    print(f"  ratio: ACTIVE / done {active:.2f}, first packet / first packet {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--state-dir", help="of a running `nfp up`; default: one is started")
    options = parser.parse_args()
    if options.state_dir:
        task.react(lambda reactor: defer.ensureDeferred(bench(reactor, options.rounds, options.state_dir)))
        return
    directory = tempfile.mkdtemp(prefix="nfp-bench-")
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from nfp.operator.cli.main import main; "
         "sys.exit(main(sys.argv[1:]))",
         "up", "--state-dir", directory],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("ready"):
                break
        else:
            raise SystemExit("nfp up did not get ready")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        task.react(lambda reactor: defer.ensureDeferred(bench(reactor, options.rounds, directory)))
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
