"""Puts the configurator together: workers, listener, and when it is ready."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from nfp.configurator.api import Api
from nfp.configurator.config import ConfiguratorSettings
from nfp.configurator.intake import Intake
from nfp.configurator.memory import Memory
from nfp.configurator.outbox import Outbox
from nfp.daemon.ending import fail
from nfp.daemon.inflight import InFlight
from nfp.daemon.ordered import OrderedService
from nfp.daemon.ready import Ready
from nfp.model.errors import NfpError
from nfp.process.pool import Unheeding, WorkerPool
from nfp.process.registry import load_modules
from nfp.rest.site import json_site
from nfp.rest.tls import check_peer, over_tls, server_options

GROUP = "nfp.configurator_modules"
READER = "nfp.configurator.config:read"


def configurator_service(
    reactor: Any, settings: ConfiguratorSettings, files: Sequence[str], ready_file: str | None = None
) -> OrderedService:
    """Build the process.

    :param files: what *settings* were read from; the workers read them too.
    :param ready_file: a path that exists exactly while the process is ready.
    :raises nfp.process.registry.RegistryError: the modules cannot be used.
    """
    modules = load_modules(GROUP, settings, settings.modules)
    outbox = Outbox(reactor, uuid.uuid4().hex, settings.outbox_limit)

    def make_workers(owner: Unheeding) -> WorkerPool:
        return WorkerPool(
            reactor,
            GROUP,
            files,
            settings.workers,
            reader=READER,
            modules=settings.modules,
            owner=owner,
            component="nfp-configurator",
            stop_timeout=settings.graceful_shutdown_timeout,
        )

    intake = Intake(modules, make_workers, settings.workers, outbox, Memory(), settings.outbox_limit)
    pool = intake.workers
    api = Api(
        intake,
        outbox,
        partial(check_peer, patterns=settings.clients),
        max_body=settings.max_body,
        health=lambda: {"tenant": settings.tenant, "workers": pool.stats()},
    )
    process = OrderedService()  # type: ignore[no-untyped-call]
    ready = Ready(reactor, ready_file)
    for service in (
        pool,
        Listening(reactor, settings, api, intake, outbox),
        ready,
        Readiness(reactor, pool, ready),
    ):
        service.setServiceParent(process)  # type: ignore[no-untyped-call]
    return process


class Listening(Service):
    """Serves the REST interface with mutual TLS.

    :param intake: takes nothing more once the listening ends.
    :param outbox: its pollers are sent home then.
    """

    name = "listening"

    def __init__(
        self, reactor: Any, settings: ConfiguratorSettings, api: Api, intake: Intake[Any], outbox: Outbox
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._intake = intake
        self._outbox = outbox
        site = json_site(api.app.resource(), reactor, max_body=settings.max_body)
        self._factory = over_tls(server_options(settings.certificate, settings.ca), site)
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen; a failed bind raises and so stops the start-up."""
        Service.startService(self)
        settings = self._settings
        self._port = self._reactor.listenTCP(settings.port, self._factory, interface=settings.host)

    def stopService(self) -> Deferred[None]:
        """Take no more connections, and let those that wait go."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._intake.close()
        port, self._port = self._port, None
        if port is not None:
            stopping: Any = port.stopListening()
            if stopping is not None:
                await stopping
        self._outbox.close()


class Readiness(Service):
    """Says that the process is ready once every worker is; ends it when they cannot be."""

    name = "readiness"
    log = Logger()

    def __init__(self, reactor: Any, pool: WorkerPool, ready: Ready) -> None:
        self._reactor = reactor
        self._pool = pool
        self._ready = ready
        self._running = InFlight(self.log)

    def startService(self) -> None:
        """Wait for the workers."""
        Service.startService(self)
        _ = self._running.start("wait for the workers", self._wait())

    async def _wait(self) -> None:
        try:
            await self._pool.when_started()
        except NfpError as error:
            self.log.critical("the workers cannot start: {reason}", reason=str(error))
            fail(self._reactor)
            return
        if self.running:
            self._ready.tell()
            self.log.info("ready")

    def stopService(self) -> Deferred[None]:
        """Wait no more."""
        Service.stopService(self)
        return self._running.drain(self._reactor, 0)
