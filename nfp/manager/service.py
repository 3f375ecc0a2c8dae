"""The manager's listener process: RPC in, events to the workers (``design.md`` section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from nfp.daemon.ending import fail
from nfp.daemon.inflight import InFlight
from nfp.daemon.ready import Ready
from nfp.daemon.threads import Threads
from nfp.manager.config import ManagerSettings
from nfp.manager.hosts import Registration
from nfp.manager.lifecycle import registry
from nfp.manager.store import history, migrate
from nfp.manager.store.engine import Store, make_engine
from nfp.manager.store.tables import NetworkService, NetworkServiceDevice
from nfp.model.errors import Unavailable
from nfp.process.interfaces import IPoolOwner
from nfp.process.listener import Listener
from nfp.process.pool import Unheeding, WorkerPool
from nfp.process.registry import load_modules
from nfp.rpc.connection import RpcConnection
from nfp.rpc.envelope import Request
from nfp.rpc.errors import NoSuchMethod
from nfp.rpc.server import RpcServer

TOPIC = "nfp-service-manager"
MODULES = "nfp.manager_modules"
READER = "nfp.manager.config:read"

HOLD_TRIES, HOLD_PAUSE = 60, 5.0
"""How often, and after how many seconds, a hold is tried to be stored while the database is away."""

_TABLES: dict[str, Any] = {"service": NetworkService.__table__, "device": NetworkServiceDevice.__table__}


@implementer(IPoolOwner)
class Owner(Unheeding):
    """Has a fresh worker's keys found again, and keeps in the store what is held.

    :ivar pool: set once the pool is made.
    """

    _log = Logger()

    def __init__(self, store: Store, reactor: Any) -> None:
        self._store = store
        self._reactor = reactor
        self._in_flight = InFlight(self._log)
        self.pool: WorkerPool | None = None

    def on_started(self, index: int) -> None:
        """What only the dead worker knew is in the store: sweep it."""
        if self.pool is not None:
            self.pool.wake("sweep:manager")

    def on_held(self, key: str, why: str) -> None:
        """A key that kills its workers is an object that is held, for all to see."""
        _ = self._in_flight.start(f"hold {key}", self._hold(key, why))

    async def _hold(self, key: str, why: str) -> None:
        prefix, _, object_id = key.partition(":")
        if prefix not in _TABLES:
            return
        for tries_left in reversed(range(HOLD_TRIES)):
            try:
                await self._store.write(_hold, _TABLES[prefix], object_id, why)
                return
            except Unavailable:
                if not tries_left:
                    raise
                await deferLater(self._reactor, HOLD_PAUSE)


class Manager(Service):
    """Starts in order: schema, host registration, workers, and only then the consumers.

    :param reactor: of the process.
    :param files: the configuration files, read again by each worker.
    :param ready: told when requests are taken.
    """

    name = "manager"
    _log = Logger()

    def __init__(self, reactor: Any, settings: ManagerSettings, files: Sequence[str], ready: Ready) -> None:
        self._reactor = reactor
        self._settings = settings
        self._ready = ready
        self._threads = Threads(reactor, 2)
        self._store = Store(make_engine(settings.database, 2), self._threads, reactor)
        driver = registry.load(settings.lifecycle_driver, files)
        alone = bool(getattr(driver, "single_host", False))
        self._registration = Registration(reactor, self._store, settings.host, alone)
        grace = settings.graceful_shutdown_timeout / 2
        owner = Owner(self._store, reactor)
        self._pool = owner.pool = WorkerPool(
            reactor,
            MODULES,
            files,
            settings.workers,
            reader=READER,
            modules=settings.modules,
            owner=owner,
            component="nfp-manager",
            stop_timeout=grace,
        )
        modules = load_modules(MODULES, settings, settings.modules)
        self._listener = Listener(self._pool, modules)
        self._connection = RpcConnection(reactor, settings.broker, settings.rpc)
        self._server = RpcServer(
            self._connection,
            TOPIC,
            settings.host,
            self._dispatch,
            durable=settings.rpc.own_queues_durable,
            prefetch=settings.rpc_prefetch,
            patience=grace,
        )

    def startService(self) -> None:
        """Begin; what fails for good ends the process with its reason in the journal."""
        super().startService()  # type: ignore[no-untyped-call]
        self._threads.start()
        self._ready.startService()
        starting = Deferred.fromCoroutine(self._start())
        _ = starting.addErrback(self._failed)

    def stopService(self) -> Deferred[None]:
        """Take no more, finish or hand back what is in hand, let go."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._ready.stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        await self._threads.call(migrate.check, self._settings.database)
        await self._registration.register()
        self._pool.startService()
        await self._pool.when_started()
        self._connection.startService()
        self._server.startService()
        await self._server.when_ready()
        self._ready.tell()
        self._log.info("ready: {methods} RPC methods", methods=len(self._listener.methods))

    def _failed(self, failure: Any) -> None:
        self._log.failure("the manager cannot start", failure)
        fail(self._reactor)

    async def _stop(self) -> None:
        for part in (self._server, self._pool, self._connection):
            if part.running:
                await part.stopService()
        await self._registration.stopService()
        await self._store.dispose()
        self._threads.stop()

    async def _dispatch(self, request: Request) -> object:
        if request.method not in self._listener.methods:
            raise NoSuchMethod(request.method)
        envelope = {
            "unique_id": request.unique_id,
            "timestamp": request.timestamp,
            "is_call": request.is_call,
        }
        context = (
            {"request_id": request.context.get("request_id")} if request.context.get("request_id") else {}
        )
        return await self._listener.handle(request.method, request.args, envelope, context)


def _hold(connection: sa.Connection, table: Any, object_id: str, why: str) -> None:
    connection.execute(
        sa.update(table)
        .where(table.c.id == object_id)
        .values(held=f"it killed its worker three times: {why}"[:4096], revision=table.c.revision + 1)
    )
    history.add(connection, object_id, "held", why)
