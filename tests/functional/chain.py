"""One firewall between two lab hosts: the request as GBP writes it, and packets through it.

Every chain has networks of its own, so that all can have the same addresses.
"""

from __future__ import annotations

import secrets
import socket
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from nfp.embedded import lab
from nfp.embedded.state_dir import StateDir
from nfp.model.errors import NotFound
from nfp.netns.inside import connect_inside, listen_inside

WEB, CLIENT = "10.0.0.10", "10.0.1.1"
DEVICE_PROVIDER, DEVICE_CONSUMER = "10.0.0.1", "10.0.1.7"
SERVED_PORTS = (22, 80, 443)
PASS_SECONDS, DROP_SECONDS = 3.0, 0.3


class Chain:
    """A chain of one node.

    :ivar id: of its network service.
    :ivar service_id: of the chain's node.
    """

    def __init__(self) -> None:
        tag = secrets.token_hex(4)
        self.id = str(uuid.uuid4())
        self.service_id = str(uuid.uuid4())
        self.service_chain_id = str(uuid.uuid4())
        self._networks = {"provider": f"provider-{tag}", "consumer": f"consumer-{tag}"}
        self._ports = {side: str(uuid.uuid4()) for side in self._networks}
        self._subnets = {side: str(uuid.uuid4()) for side in self._networks}
        self._macs = {side: _mac() for side in self._networks}
        self._hosts = {"web": f"w{tag}", "client": f"c{tag}"}
        self._state: StateDir | None = None
        self._servers: list[Echo] = []

    # What is asked for

    def request(self, *ports: int, **other: object) -> dict[str, Any]:
        """The ``network_service`` of a create: a firewall that lets these TCP ports through.

        :param other: fields to have instead.
        """
        wanted = {
            "id": self.id,
            "name": "a firewall",
            "tenant_id": "8b6f2f6c1c5a4c0e8a5c7c9f5c3f0a11",
            "service_id": self.service_id,
            "service_chain_id": self.service_chain_id,
            "service_profile": {
                "service_type": "FIREWALL",
                "service_flavor": "service_vendor=vyos,device_type=nova",
                "insertion_mode": "l3",
            },
            "service_config": rules(*ports),
            "provider": self._side("provider", DEVICE_PROVIDER, "10.0.0.0/24", DEVICE_PROVIDER),
            "consumer": self._side("consumer", DEVICE_CONSUMER, "10.0.1.0/28", CLIENT),
        }
        return {**wanted, **other}

    def _side(self, side: str, address: str, cidr: str, gateway: str) -> Mapping[str, object]:
        network, subnet = self._networks[side], self._subnets[side]
        port = {
            "id": self._ports[side],
            "network_id": network,
            "mac_address": self._macs[side],
            "fixed_ips": [{"subnet_id": subnet, "ip_address": address}],
            "ip_address": address,
        }
        return {
            "pt": [],
            "ptg": [],
            "port": [port],
            "subnet": {
                "id": subnet,
                "network_id": network,
                "ip_version": 4,
                "cidr": cidr,
                "gateway_ip": gateway,
            },
            "port_model": "gbp_policy_target",
            "port_classification": side,
        }

    # Packets

    def attach(self, state: StateDir) -> None:
        """Put a server on the provider's network and a client on the consumer's."""
        self._state = state
        for host, side, address, gateway in (
            ("web", "provider", f"{WEB}/24", DEVICE_PROVIDER),
            ("client", "consumer", f"{CLIENT}/28", DEVICE_CONSUMER),
        ):
            wanted = lab.host(
                state, self._hosts[host], network=self._networks[side], address=address, gateway=gateway
            )
            lab.attach(state, wanted)
        self.serve()

    def serve(self) -> None:
        """Let the server's ports answer, whatever namespace the host has now."""
        self._servers = [Echo(self.namespace("web"), port) for port in SERVED_PORTS]

    def silence(self) -> None:
        """End the servers, so that nothing of ours keeps the namespaces."""
        for server in self._servers:
            server.close()
        self._servers = []

    def detach(self) -> None:
        """Remove both hosts."""
        self.silence()
        if self._state is not None:
            for name in self._hosts.values():
                with suppress(NotFound):
                    lab.detach(self._state, name)
            self._state = None

    def host(self, which: str) -> str:
        """Name of a lab host: ``web`` or ``client``."""
        return self._hosts[which]

    def namespace(self, which: str) -> str:
        """Namespace of a lab host."""
        assert self._state is not None
        return self._state.lab(self._hosts[which])

    def passes(self, port: int, seconds: float = PASS_SECONDS) -> bool:
        """Whether the client gets an answer of the server's port."""
        try:
            with connect_inside(self.namespace("client"), WEB, port, seconds) as connection:
                connection.sendall(b"?")
                return connection.recv(1) == b"?"
        except OSError:
            return False

    def open_ports(self, expected: Sequence[int] = (80,)) -> list[int]:
        """The ports that the client gets an answer of; patient with those expected to answer."""
        return [
            port
            for port in SERVED_PORTS
            if self.passes(port, PASS_SECONDS if port in expected else DROP_SECONDS)
        ]


class Echo:
    """A TCP server inside a namespace that says what it hears."""

    def __init__(self, namespace: str, port: int) -> None:
        self._listening = listen_inside(namespace, "0.0.0.0", port)
        self._listening.setblocking(True)
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop, and let go of the namespace."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        with connection, suppress(OSError):
            while data := connection.recv(4096):
                connection.sendall(data)
        self._open.discard(connection)


def rules(*ports: int) -> dict[str, Any]:
    """A ``service_config`` that lets these TCP ports and pings through, and nothing else."""
    allowed = [
        {"name": f"allow-{port}", "protocol": "tcp", "destination_port": str(port), "action": "allow"}
        for port in ports
    ]
    ping = {"name": "allow-ping", "protocol": "icmp", "action": "allow"}
    return {"firewall": {"default_action": "deny", "rules": [*allowed, ping]}}


def _mac() -> str:
    return "fa:16:3e:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
