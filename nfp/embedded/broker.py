"""A private RabbitMQ node: its own home, cookie, port mapper and ports, all on the loopback address.

Nothing is shared with a broker that the machine has already: not the Erlang cookie, not epmd,
not ``/etc/rabbitmq``.  The ports are kept from one start to the next as long as they are free,
so that a client's URL stays good.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nfp.embedded.processes import Child, Command, end, spawn, when_ended
from nfp.model.errors import Unavailable
from nfp.model.secret import Secret

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""The program itself: the one in ``/usr/sbin`` would change to the installed broker's user and home."""

EPMD = "/usr/bin/epmd"
HOST = "127.0.0.1"
USER = "nfp"
START_SECONDS = 90.0
STOP_SECONDS = 30.0
_HELLO = b"AMQP\x00\x00\x09\x01"


@dataclass(frozen=True)
class Access:
    """How to reach the node.

    :ivar port: of AMQP.
    :ivar distribution: of Erlang's own protocol.
    :ivar mapper: of the node's own epmd.
    """

    port: int
    distribution: int
    mapper: int
    password: Secret

    @property
    def url(self) -> Secret:
        """The URL as oslo.messaging writes it."""
        return Secret(f"rabbit://{USER}:{self.password.reveal()}@{HOST}:{self.port}/")

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return f"rabbit://{USER}:***@{HOST}:{self.port}/"


def prepare(home: Path) -> Access:
    """Choose ports and password, the last ones where that can be, and write the node's files.

    :param home: directory of the node; made if it is not there.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = _kept(home / "access.json")
    ports: list[int] = []
    for name in ("port", "distribution", "mapper"):
        ports.append(_free_port(kept.get(name), ports))
    port, distribution, mapper = ports
    password = Secret(str(kept.get("password") or secrets.token_hex(16)))
    access = Access(port, distribution, mapper, password)
    _write_private(
        home / "access.json",
        json.dumps(
            {
                "port": access.port,
                "distribution": access.distribution,
                "mapper": access.mapper,
                "password": access.password.reveal(),
            }
        ),
    )
    _write_private(
        home / "rabbitmq.conf",
        f"listeners.tcp.1 = {HOST}:{access.port}\n"
        f"default_user = {USER}\n"
        f"default_pass = {access.password.reveal()}\n"
        "heartbeat = 60\n"
        "log.console = true\n"
        "log.console.level = info\n"
        "log.file = false\n"
        # The node shares a disk and a memory with everything else here: warn late rather than block.
        "disk_free_limit.absolute = 50MB\n"
        "vm_memory_high_watermark.relative = 0.6\n",
    )
    (home / "enabled_plugins").write_text("[].\n")
    (home / "env.conf").write_text("")
    return access


def _kept(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)


def _free_port(wanted: object, taken: list[int]) -> int:
    for candidate in (wanted if isinstance(wanted, int) else 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            if port not in taken:
                return port
    raise Unavailable("no free TCP port on 127.0.0.1")


def commands(home: Path, access: Access, node: str) -> tuple[Command, Command]:
    """Write the two commands, the port mapper's and the node's."""
    mapper = {"ERL_EPMD_PORT": str(access.mapper), "ERL_EPMD_ADDRESS": HOST}
    environment = {
        **mapper,
        "HOME": str(home),
        "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_NODENAME": f"{node}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(access.port),
        "RABBITMQ_DIST_PORT": str(access.distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_CRASH_DUMP": str(home / "erl_crash.dump"),
    }
    return (
        Command("epmd", (EPMD, "-port", str(access.mapper), "-address", HOST), environment=mapper),
        Command("rabbitmq", (SERVER,), environment=environment),
    )


class Broker:
    """The node and its port mapper.

    :param node: the part of the node's name before the ``@``; the database is kept under it.
    """

    def __init__(self, reactor: Any, home: Path, log_dir: Path, node: str) -> None:
        self._reactor = reactor
        self._home = home
        self._log_dir = log_dir
        self._node = node
        self._mapper: Child | None = None
        self._server: Child | None = None

    async def start(self) -> Access:
        """Start the node and wait until it speaks AMQP.

        :raises Unavailable: it ended, or did not answer within :data:`START_SECONDS`.
        """
        access = prepare(self._home)
        mapper, server = commands(self._home, access, self._node)
        self._mapper = spawn(self._reactor, mapper, self._log_dir)
        await self._until_answering(access.mapper, b"", self._mapper)
        self._server = spawn(self._reactor, server, self._log_dir)
        await self._until_answering(access.port, _HELLO, self._server)
        return access

    @property
    def server(self) -> Child | None:
        """The node's process."""
        return self._server

    async def stop(self) -> None:
        """Shut the node down in good order, then its port mapper.  Not started is stopped."""
        for child in (self._server, self._mapper):
            if child is not None:
                await end(self._reactor, child, STOP_SECONDS)

    async def _until_answering(self, port: int, hello: bytes, child: Child) -> None:
        deadline = self._reactor.seconds() + START_SECONDS
        while child.running:
            if await answers(self._reactor, port, hello):
                return
            if self._reactor.seconds() > deadline:
                raise Unavailable(f"{child.name} did not answer within {START_SECONDS:g} s")
            await deferLater(self._reactor, 0.1)
        raise Unavailable(f"{child.name} ended ({await when_ended(child)}): {child.last_words[-500:]}")


class _Hello(Protocol):
    def __init__(self, hello: bytes) -> None:
        self._hello = hello
        self.heard: Deferred[bool] = Deferred()

    def connectionMade(self) -> None:
        if not self._hello:
            self._say(heard=True)
        else:
            self.transport.write(self._hello)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self._say(heard=data[:1] == b"\x01")  # a method frame: Connection.Start

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._say(heard=False)

    def _say(self, *, heard: bool) -> None:
        if not self.heard.called:
            self.heard.callback(heard)
            self.transport.loseConnection()  # type: ignore[union-attr]


async def answers(reactor: Any, port: int, hello: bytes, timeout: float = 5.0) -> bool:
    """Whether something listens on that port of the loopback address and answers to *hello*.

    :param hello: what to say; empty: taking the connection is answer enough.
    """
    try:
        connected = await connectProtocol(TCP4ClientEndpoint(reactor, HOST, port, timeout), _Hello(hello))
    except ConnectError:
        return False
    waiting = reactor.callLater(timeout, connected.connectionLost)
    try:
        return await maybeDeferred(lambda: connected.heard)
    finally:
        if waiting.active():
            waiting.cancel()
