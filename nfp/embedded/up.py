"""One deployment on this machine: broker, database, topology and processes, brought up and taken down."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.internet import defer
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.task import deferLater

from nfp.daemon.settings import SettingsError
from nfp.daemon.threads import Threads
from nfp.embedded import agents, configuration, lab, topology
from nfp.embedded.broker import Broker
from nfp.embedded.configuration import CONFIGURATOR, CONFIGURATOR_PORT, GRACE_SECONDS, EmbeddedSettings
from nfp.embedded.processes import Command, python
from nfp.embedded.state_dir import StateDir
from nfp.embedded.supervisor import Keeper
from nfp.manager.store.migrate import upgrade
from nfp.model.errors import Conflict, NfpError, Unavailable
from nfp.model.secret import Secret

START_SECONDS = 120.0
STOP_SECONDS = GRACE_SECONDS + 5.0
_POLL_SECONDS = 0.1
_TWISTD = ("-P", "-c", "from twisted.scripts.twistd import run; run()")

Say = Callable[[str], None]


def component(
    name: str, state: StateDir, settings: EmbeddedSettings, namespace: str | None = None
) -> Command:
    """The command of one component."""
    files: list[str] = []
    for file in (str(state.configuration), *settings.files):
        files += ["--config", file]
    flags = ("-n", "--pidfile=", "--logger=nfp.daemon.journal.to_stderr")
    return Command(name, python(*_TWISTD, *flags, f"nfp-{name}", *files), namespace)


class Deployment:
    """Everything that ``nfp up`` runs.

    :param say: tells the operator, a sentence at a time.
    """

    def __init__(self, reactor: Any, state: StateDir, settings: EmbeddedSettings, say: Say) -> None:
        self._reactor = reactor
        self._state = state
        self._settings = settings
        self._say = say
        self._threads = Threads(reactor, size=1)  # one thing after another, also when the start is given up
        self._broker: Broker | None = None
        self._keepers: list[Keeper] = []
        self._lock: int | None = None
        self._adopted = False
        self._url = settings.transport_url

    async def start(self) -> None:
        """Bring everything up; returns when services can be created.

        :raises Conflict: another instance lives in the state directory.
        :raises Unavailable: something did not become ready.
        """
        self._make_directories()
        self._take_lock()
        self._threads.start()
        connection = self._settings.connection.reveal()
        self._adopted = bool(topology.standing(self._state))
        if not self._adopted:
            forget_devices(self._state)
        if self._url is None:
            self._broker = Broker(self._reactor, self._state, self._say)
            self._url = self._broker.access.url
        await self._threads.call(topology.raise_up, self._state)
        await self._threads.call(configuration.write, self._state, self._settings, self._url)
        await self._threads.call(upgrade, connection)
        before = await self._threads.call(agents.last_report, connection, self._settings.host)
        # All at once: the broker takes longest, and who needs it waits for it.
        await self._together(
            self._start_broker(),
            self._keep("device"),
            self._keep("proxy", self._state.router),
            self._keep("configurator", self._state.configurator),
            self._keep("agent"),
            self._keep("manager"),
        )
        await self._agent_reported(connection, before)

    async def stop(self, *, failed: bool = False) -> None:
        """End the processes, last first, then remove the topology, then stop the broker.

        :param failed: the start failed: namespaces that an earlier instance left keep their traffic.
        """
        for keeper in reversed(self._keepers):
            await keeper.stop(STOP_SECONDS)
        if self._lock is None:
            return
        if not (failed and self._adopted):
            await self._threads.call(topology.take_down, self._state)
            await self._forget()
        if self._broker is not None:
            await self._broker.stop()
        self._threads.stop()
        os.close(self._lock)
        self._lock = None

    async def _forget(self) -> None:
        """Forget what is gone with the topology."""
        try:
            await self._threads.call(lab.forget_ports, self._state)
        except (NfpError, SettingsError) as error:  # a database that is away must not keep us here
            self._say(f"the directory still knows the lab hosts' ports: {error}")
        forget_devices(self._state)

    def summary(self) -> Sequence[tuple[str, str]]:
        """What is where, without secrets."""
        state, name = self._state, self._settings.configurator
        address = state.management_address(CONFIGURATOR)
        return (
            ("process", str(os.getpid())),
            ("broker", f"{_shown(self._url)}  (whole in {state.transport_url})"),
            ("database", _shown(self._settings.connection)),
            ("configuration", str(state.configuration)),
            ("logs", str(state.log)),
            ("configurator", f"https://[{address}]:{CONFIGURATOR_PORT} in {state.configurator}"),
            ("proxy", f"{state.proxy_socket(name)}, running in {state.router}"),
            ("devices", f"{state.device_socket}; namespaces {state.namespace_prefix}d-*"),
            *((keeper.name, f"process {keeper.pid}") for keeper in self._keepers),
        )

    def _make_directories(self) -> None:
        self._state.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for directory in (self._state.run, self._state.log, self._state.device):
            directory.mkdir(exist_ok=True, mode=0o700)

    def _take_lock(self) -> None:
        lock = os.open(self._state.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Conflict(f"{self._state.root} is in use by another instance") from None
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    async def _start_broker(self) -> None:
        if self._broker is not None:
            await self._broker.start()

    async def _keep(self, name: str, namespace: str | None = None) -> None:
        command = component(name, self._state, self._settings, namespace)
        keeper = Keeper(self._reactor, command, self._state.log, self._state.run, self._say)
        self._keepers.append(keeper)
        try:
            await keeper.start().addTimeout(START_SECONDS, self._reactor)
        except defer.TimeoutError:
            raise Unavailable(
                f"{keeper.name} is not ready after {START_SECONDS:g} s; "
                f"see {self._state.log / keeper.name}.log"
            ) from None

    async def _agent_reported(self, connection: str, before: agents.Report | None) -> None:
        """Wait until the store has a new agent's report that all configurators are reached."""
        deadline = self._reactor.seconds() + START_SECONDS
        while True:
            report = await self._threads.call(agents.last_report, connection, self._settings.host)
            fresh = report is not None and (before is None or report.boot_id != before.boot_id)
            if fresh and report is not None and not report.unreachable:
                return
            if self._reactor.seconds() > deadline:
                missing = ", ".join(report.unreachable) if fresh and report else "its first report"
                raise Unavailable(f"the agent is up, but this is missing: {missing}; see {self._state.log}")
            await deferLater(self._reactor, _POLL_SECONDS)

    async def _together(self, *works: Awaitable[object]) -> None:
        """Await all of them; a failure is raised at once, and the others are given up."""
        running = [Deferred.fromCoroutine(_awaited(work)) for work in works]
        try:
            await gatherResults(running, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        finally:
            for one in running:
                one.cancel()


async def _awaited(work: Awaitable[object]) -> object:
    return await work


def forget_devices(state: StateDir) -> None:
    """Remove what is remembered of devices whose namespaces are gone."""
    for directory in (state.device, state.run / "devices", state.run / "lab"):
        shutil.rmtree(directory, ignore_errors=True)
    state.device.mkdir(exist_ok=True, mode=0o700)


def _shown(url: Secret | None) -> str:
    """A URL without its password."""
    if url is None:
        return ""
    text = url.reveal()
    try:
        password = urlsplit(text).password
    except ValueError:
        return "***"
    return text.replace(f":{password}@", ":***@") if password else text
