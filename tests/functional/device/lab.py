"""A consumer, a device and a provider in namespaces, and a runtime that serves the device."""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from nfp.netns import inside, links, namespaces
from nfp.netns.links import Nic, RouteSpec
from nfp.pki.authority import Authority
from nfp.rest.client import JsonClient
from nfp.rest.dial import Dial, over_unix
from nfp.rest.tls import client_options

CONSUMER_MAC, PROVIDER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
CONSUMER, PROVIDER = "10.1.0.10", "10.2.0.10"
CONSUMER6, PROVIDER6 = "fd01::10", "fd02::10"
PATIENCE = 10.0
SILENCE = 0.3
"""Seconds without an answer that count as dropped."""

TREE: dict[str, Any] = {
    "interfaces": [
        {
            "port_id": "c",
            "name": "eth1",
            "mac": CONSUMER_MAC,
            "addresses": ["10.1.0.1/24", "fd01::1/64"],
            "role": "consumer",
        },
        {
            "port_id": "p",
            "name": "eth2",
            "mac": PROVIDER_MAC,
            "addresses": ["10.2.0.1/24", "fd02::1/64"],
            "role": "provider",
        },
    ],
    "routes": [{"destination": "10.9.0.0/16", "nexthop": PROVIDER}],
}


def firewall(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A firewall service's tree."""
    return {
        "firewall": {"rules": list(rules), **more},
        "provider": {"mac": PROVIDER_MAC, "cidrs": ["10.2.0.0/24"]},
        "consumer": {"mac": CONSUMER_MAC, "cidrs": ["10.1.0.0/24"]},
    }


def allow(port: int, protocol: str = "tcp", **more: Any) -> dict[str, Any]:
    """A rule that allows a destination port."""
    return {"protocol": protocol, "destination_port": port, "action": "allow", **more}


class Lab:
    """Makes namespaces of a random tag and removes them again."""

    def __init__(self) -> None:
        self.tag = f"nfpt-{os.urandom(3).hex()}"
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.tag}-"))
        self.prefix = f"fd{os.urandom(1).hex()}:{os.urandom(2).hex()}::"
        self.management = f"{self.tag}-m"
        self.consumer, self.provider = f"{self.tag}-c", f"{self.tag}-p"
        self._servers: list[Echo] = []
        authority = Authority.create(self.directory / "pki")
        for name in ("device.test", "configurator.test", "stranger.test"):
            authority.issue(name)

    @property
    def fabric(self) -> str:
        return f"{self.tag}-fab"

    def device(self, number: int = 1) -> str:
        return f"{self.tag}-d{number}"

    def address(self, number: int = 1) -> str:
        return f"{self.prefix}{number + 16:x}"

    def pki(self, name: str) -> str:
        return str(self.directory / "pki" / name)

    def build_management(self) -> None:
        namespaces.ensure(self.fabric)
        nic = Nic("eth0", "bm", "m.0", None, (f"{self.prefix}2/64",))
        links.build(self.management, self.fabric, [nic])

    def build_device(self, number: int = 1, data: bool = False) -> None:
        nics = [Nic("eth0", "bm", f"d{number}.0", None, (f"{self.address(number)}/64",))]
        if data:
            nics += [
                Nic("eth1", "bc", f"d{number}.1", CONSUMER_MAC),
                Nic("eth2", "bp", f"d{number}.2", PROVIDER_MAC),
            ]
        links.build(self.device(number), self.fabric, nics)

    def build_chain(self) -> None:
        self.build_management()
        self.build_device(data=True)
        for name, host, bridge, end in (
            (self.consumer, "c.0", "bc", 1),
            (self.provider, "p.0", "bp", 2),
        ):
            nic = Nic("eth0", bridge, host, None, (f"10.{end}.0.10/24", f"fd0{end}::10/64"))
            routes = [RouteSpec("0.0.0.0/0", f"10.{end}.0.1"), RouteSpec("::/0", f"fd0{end}::1")]
            links.build(name, self.fabric, [nic], routes)

    def echo(self, port: int, host: str = PROVIDER, namespace: str | None = None) -> Echo:
        server = Echo(inside.listen_inside(namespace or self.provider, host, port))
        self._servers.append(server)
        return server

    def connect(self, port: int, host: str = PROVIDER, timeout: float = PATIENCE) -> socket.socket:
        return inside.connect_inside(self.consumer, host, port, timeout)

    def passes(self, port: int, host: str = PROVIDER) -> bool:
        """Whether a new flow gets an answer; a refusal counts as no, silence too."""
        try:
            with self.connect(port, host, SILENCE) as flow:
                return talks(flow)
        except OSError:
            return False

    def opens(self, port: int, host: str) -> bool:
        """Whether a connection can be opened."""
        try:
            self.connect(port, host, SILENCE).close()
        except OSError:
            return False
        return True

    def ping(self) -> bool:
        """Whether an ICMP echo request of the consumer is answered by the provider."""
        made = inside.socket_inside(self.consumer, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with made:
            made.settimeout(SILENCE)
            made.sendto(_echo_request(), (PROVIDER, 0))
            try:
                return made.recv(2048)[20] == 0
            except TimeoutError:
                return False

    def retransmits(self) -> int:
        """TCP segments that consumer and provider have sent again."""
        return sum(_retransmits(name) for name in (self.consumer, self.provider))

    def settings(self) -> str:
        """Write the runtime's INI file."""
        path = self.directory / "nfp.conf"
        path.write_text(
            f"[device]\nsocket = {self.directory}/device.sock\nstate_dir = {self.directory}/state\n"
            f"certificate = {self.pki('device.test.pem')}\nca = {self.pki('ca.pem')}\n"
            f"ready_file = {self.directory}/ready\n"
        )
        return str(path)

    def control(self, reactor: Any) -> JsonClient:
        return JsonClient(reactor, over_unix(f"{self.directory}/device.sock"))

    def client(self, reactor: Any, number: int = 1, name: str = "configurator.test") -> JsonClient:
        """A client that connects from inside the management namespace."""
        tls = client_options("device.test", self.pki(f"{name}.pem"), self.pki("ca.pem"))
        way = Inside(reactor, self.management, self.address(number), 9444)
        return JsonClient(reactor, Dial("https://device.test", lambda _: wrapClientTLS(tls, way)))

    def nft(self, *arguments: str, number: int = 1) -> None:
        """Do as an administrator on the device might."""
        process = inside.popen_inside(self.device(number), ["nft", *arguments])
        if process.wait(PATIENCE):
            raise AssertionError(f"nft {arguments} failed")

    def remove(self) -> None:
        for server in self._servers:
            server.close()
        for name in namespaces.names(f"{self.tag}-"):
            namespaces.delete(name, force=True)
        shutil.rmtree(self.directory)


@implementer(IStreamClientEndpoint)
class Inside:
    """An endpoint whose socket is made inside a namespace."""

    def __init__(self, reactor: Any, namespace: str, host: str, port: int) -> None:
        self._reactor, self._where = reactor, (namespace, host, port)

    async def _connect(self, factory: Any) -> Any:
        made = inside.connect_inside(*self._where, PATIENCE)
        made.setblocking(False)
        with made:
            return self._reactor.adoptStreamConnection(made.fileno(), made.family, factory)

    def connect(self, factory: Any) -> Any:
        from twisted.internet.defer import Deferred

        made: list[Any] = []
        build = factory.buildProtocol

        def remember(address: Any) -> Any:
            made.append(build(address))
            return made[0]

        factory.buildProtocol = remember
        return Deferred.fromCoroutine(self._connect(factory)).addCallback(lambda _: made[0])


class Echo:
    """Sends back what it gets, on every connection."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._end, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        sockets = {self._listening.fileno(): self._listening}
        while True:
            ready, _, _ = select.select([self._end, *sockets], [], [])
            if self._end in ready:
                break
            for number in ready:
                if number == self._listening.fileno():
                    with suppress(OSError):
                        made, _ = self._listening.accept()
                        sockets[made.fileno()] = made
                    continue
                data = b""
                with suppress(OSError):
                    data = sockets[number].recv(65536)
                    sockets[number].sendall(data)
                if not data:
                    sockets.pop(number).close()
        for one in sockets.values():
            one.close()
        os.close(self._end)

    def close(self) -> None:
        os.close(self._stop)
        self._thread.join()


class Busy:
    """Talks on all flows without pause, in a thread of its own; closes them at the end."""

    def __init__(self, flows: Sequence[socket.socket]) -> None:
        self.rounds = 0
        self._flows = flows
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.is_set():
            for flow in self._flows:
                flow.sendall(b"x")
            for flow in self._flows:
                flow.recv(16)
            self.rounds += 1

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for flow in self._flows:
            flow.close()


def talks(flow: socket.socket, timeout: float = SILENCE) -> bool:
    """Whether an established flow still carries data both ways."""
    flow.settimeout(timeout)
    try:
        flow.sendall(b"x")
        return flow.recv(16) != b""
    except OSError:
        return False


def rules(count: int) -> Sequence[dict[str, Any]]:
    """Many rules, for ports from 1 up."""
    return [allow(port) for port in range(1, count + 1)]


def _echo_request() -> bytes:
    body = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    total = sum(struct.unpack("!4H", body))
    return struct.pack("!BBHHH", 8, 0, ~(total + (total >> 16)) & 0xFFFF, 7, 1)


def _retransmits(namespace: str) -> int:
    text = inside.inside(namespace, lambda: Path("/proc/thread-self/net/snmp").read_text())
    names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])
