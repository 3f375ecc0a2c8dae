"""A private RabbitMQ node: its own home, cookie, port mapper and ports, all on the loopback address.

Nothing is shared with a broker that the machine has already: not the Erlang cookie, not epmd,
not ``/etc/rabbitmq``.  The ports are kept from one start to the next as long as they are free,
so that a client's URL stays good.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfp.embedded.configuration import write_private
from nfp.embedded.processes import Command
from nfp.embedded.state_dir import StateDir
from nfp.embedded.supervisor import Keeper
from nfp.model.errors import Unavailable
from nfp.model.secret import Secret

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""The program itself: the one in ``/usr/sbin`` would change to the installed broker's user and home."""

EPMD = "/usr/bin/epmd"
HOST = "127.0.0.1"
USER = "nfp"
STOP_SECONDS = 30.0
_DIAL_SECONDS = 0.2


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
    write_private(
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
    write_private(
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

    :param say: tells the operator, a sentence at a time.
    :ivar access: how to reach it; known before it is up.
    """

    def __init__(self, reactor: Any, state: StateDir, say: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._state = state
        self._say = say
        self._keepers: list[Keeper] = []
        self.access = prepare(state.rabbitmq)

    async def start(self) -> None:
        """Start the node and wait until it takes clients.

        :raises Unavailable: it ended before.
        """
        mapper, server = commands(self._state.rabbitmq, self.access, f"nfp-{self._state.tag}")
        # The mapper is ours, and up first: otherwise the node would start one that outlives it.
        await self._keep(mapper, lambda: listens(self.access.mapper))
        await self._keep(server)  # says that it is ready, as it would to systemd

    async def stop(self) -> None:
        """Shut the node down in good order, then its port mapper.  Not started is stopped."""
        while self._keepers:
            await self._keepers.pop().stop(STOP_SECONDS)

    @property
    def pid(self) -> int | None:
        """Process id of the node, while it runs."""
        return self._keepers[-1].pid if self._keepers else None

    async def _keep(self, command: Command, probe: Callable[[], bool] | None = None) -> None:
        keeper = Keeper(self._reactor, command, self._state.log, self._state.run, self._say, probe=probe)
        self._keepers.append(keeper)
        await keeper.start()


def listens(port: int) -> bool:
    """Whether somebody takes connections on that port of the loopback address; does not wait."""
    with socket.socket() as probe:
        probe.settimeout(_DIAL_SECONDS)
        return probe.connect_ex((HOST, port)) == 0
