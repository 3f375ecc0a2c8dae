"""The command line of ``twistd nfp-agent`` and the wiring of its process."""

from __future__ import annotations

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from nfp.agent.collecting import Collector
from nfp.agent.config import AgentSettings, read
from nfp.agent.configurators import Configurators
from nfp.agent.report import Reporter
from nfp.agent.rpc import TOPIC, AgentRpc
from nfp.daemon.command import DaemonOptions
from nfp.daemon.ending import exit_cleanly
from nfp.daemon.inflight import InFlight
from nfp.daemon.ordered import OrderedService
from nfp.daemon.ready import Ready
from nfp.rpc.client import RpcClient
from nfp.rpc.connection import RpcConnection
from nfp.rpc.server import RpcServer

_log = Logger()


class Options(DaemonOptions[AgentSettings]):
    """What may be said on the command line."""

    read = staticmethod(read)


def makeService(options: Options) -> IService:
    """Build the process.

    What is stopped first comes last: no more waiting managers, no more RPC, no more reports, no
    more polls, and the broker's connection in the end.
    """
    from twisted.internet import reactor

    exit_cleanly(reactor)
    settings = options.settings
    assert settings.broker is not None
    connection = RpcConnection(reactor, settings.broker, settings.rpc)
    client = RpcClient(connection)
    configurators = Configurators(reactor, settings)
    collector = Collector(reactor, configurators)
    server = RpcServer(
        connection,
        TOPIC,
        settings.host,
        AgentRpc(configurators, collector).dispatch,
        durable=settings.rpc.own_queues_durable,
        prefetch=settings.prefetch,
    )
    process = OrderedService()  # type: ignore[no-untyped-call]
    for service in (
        connection,
        _Closing(client),
        configurators,
        Reporter(reactor, client, configurators, settings.host, settings.report_interval),
        server,
        collector,
        _ReadyWith(server, Ready(reactor, options["ready-file"])),
    ):
        service.setServiceParent(process)  # type: ignore[no-untyped-call]
    return process


class _Closing(Service):
    """Closes the RPC client at the right time."""

    name = "client"

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._client.close())


class _ReadyWith(Service):
    """Ready once the server consumes."""

    name = "readiness"

    def __init__(self, server: RpcServer, ready: Ready) -> None:
        self._server = server
        self._ready = ready
        self._in_flight = InFlight(_log)
        self._waiting: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._ready.startService()
        self._waiting = self._in_flight.start("waiting for the broker", self._tell())

    async def _tell(self) -> None:
        await self._server.when_ready()
        self._ready.tell()

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._waiting is not None:
            self._waiting.cancel()
        self._ready.stopService()
