"""What a manager's worker works with: store, broker, driver, and the loops over them."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any, cast

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from nfp.daemon.threads import Threads, in_threads
from nfp.manager import hosts
from nfp.manager.config import ManagerSettings
from nfp.manager.converge import Converger
from nfp.manager.devices import DeviceKind
from nfp.manager.instruct import Instructor
from nfp.manager.interfaces import ILifeCycleDriver
from nfp.manager.lifecycle import registry
from nfp.manager.plan.device import Policy
from nfp.manager.poller import Poller
from nfp.manager.services import ServiceKind
from nfp.manager.store import leases, news
from nfp.manager.store.engine import Store, make_engine
from nfp.manager.store.group_commit import GroupCommit
from nfp.manager.store.purge import purge
from nfp.manager.store.tables import AgentRecord
from nfp.process.interfaces import IWorkerContext, RunAgain, Settled
from nfp.rpc.client import RpcClient
from nfp.rpc.connection import RpcConnection

AGENT_TOPIC = "nfp-configurator-agent"
NODE_DRIVER_TOPIC = "nfp-node-driver"
STORE_THREADS = 8

_AGENTS: Any = AgentRecord.__table__


class Workroom:
    """Made once in each worker.

    :param context: the worker's way to its listener.
    """

    _log = Logger()

    def __init__(self, settings: ManagerSettings, context: IWorkerContext) -> None:
        self.context: Any = context
        self.random = random.SystemRandom()
        self._settings = settings
        reactor = self.context.reactor
        self._reactor = reactor
        self._store_threads = Threads(reactor, STORE_THREADS)
        self._driver_threads = Threads(reactor, settings.driver_threads)
        self.store = Store(make_engine(settings.database, STORE_THREADS), self._store_threads, reactor)
        self.group = GroupCommit(self.store, reactor)
        self._connection = RpcConnection(reactor, settings.broker, settings.rpc)
        self._client = RpcClient(self._connection)
        self._started_at = 0.0
        self._agents_leased: dict[str, float] = {}
        self.owner = f"{settings.host}/{self.context.index}/{os.getpid()}"
        blocking = registry.load(settings.lifecycle_driver, settings.files)
        self._driver = cast(
            "ILifeCycleDriver", in_threads(blocking, self._driver_threads, settings.driver_timeout)
        )
        self.services = self._converger(self._service_kind())
        self.devices = self._converger(self._device_kind())
        self.poller = Poller(
            self.call_agent, self._lease_agent, self.context.submit, settings.poll_wait, reactor
        )

    def _service_kind(self) -> ServiceKind:
        settings = self._settings
        return ServiceKind(
            self.store,
            self._driver,
            settings.configurator,
            settings.vendors,
            settings.deployment,
            self._tell_node_drivers,
        )

    def _device_kind(self) -> DeviceKind:
        instructor = Instructor(self._driver, self.call_agent, self._learn_boot, self._reactor)
        return DeviceKind(self._driver, instructor, self._settings.deployment, self._policy, self._reactor)

    def _converger(self, kind: Any) -> Converger[Any]:
        return Converger(
            kind,
            self.store,
            self._reactor,
            self.owner,
            self._settings.lease_seconds,
            self.context.wake,
            self.random,
            self.group,
        )

    def _policy(self, now: float) -> Policy:
        interval = self._settings.resync_interval
        return Policy(interval, max(self._started_at, now - interval))

    async def open(self) -> None:
        """Connect to store and broker; free the leases of this worker's dead predecessor."""
        self._store_threads.start()
        self._driver_threads.start()
        self._connection.startService()
        freed = await self.store.write(leases.clear, f"{self._settings.host}/{self.context.index}/")
        if freed:
            self._log.info("ended {count} leases of a dead worker", count=freed)
        started_at = await self.store.read(hosts.started_at, self._settings.host)
        # By the database's clock; were ours behind it, no look would ever be fresh enough.
        self._started_at = min(started_at, self._reactor.seconds())

    async def close(self) -> None:
        """Let everything go, the last used first."""
        await self._client.close()
        stopping = self._connection.stopService()
        if isinstance(stopping, Deferred):
            await stopping
        await self.store.dispose()
        self._driver_threads.stop()
        self._store_threads.stop()

    async def sweep(self, key: str) -> Settled | RunAgain:
        """Wake every object that is unsettled, or waits (``design.md`` section 3)."""
        count = 0
        for prefix, table in (("service", leases.CONVERGED[0]), ("device", leases.CONVERGED[1])):
            for object_id in await self.store.read(leases.unsettled, table):
                self.context.wake(f"{prefix}:{object_id}")
                count += 1
        for host in await self.store.read(_agent_hosts):
            self.context.wake(f"agent:{host}")
        for service_id in await self.store.write(purge, self._reactor.seconds()):
            self._log.warn("an update of {service_id} is lost: no create came", service_id=service_id)
        self._log.info("swept: {count} objects to look at", count=count)
        return RunAgain(self._settings.resync_interval)

    async def call_agent(self, host: str, method: str, args: Mapping[str, Any]) -> Any:
        """Call an agent on its own topic.

        :raises nfp.model.errors.NfpError: what it raised, or that it did not answer.
        """
        timeout = self._settings.rpc_timeout + float(args.get("wait") or 0)
        return await self._client.call(AGENT_TOPIC, method, args, server=host, timeout=timeout)

    async def _learn_boot(self, configurator: str, boot_id: str) -> None:
        for key in await self.store.write(news.boot_seen, configurator, boot_id):
            self.context.wake(key)

    async def _tell_node_drivers(self, status: Mapping[str, Any]) -> None:
        await self._client.fanout(NODE_DRIVER_TOPIC, "network_service_status_notification", status)

    async def _lease_agent(self, host: str) -> float | None:
        until = self._agents_leased.get(host, 0.0)
        now = self._reactor.seconds()
        if until - now > self._settings.lease_seconds / 2:
            return 0.0
        other = await self.store.write(leases.take_agent, host, self.owner, self._settings.lease_seconds)
        if other == 0.0:
            self._agents_leased[host] = now + self._settings.lease_seconds
        return other


def _agent_hosts(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.select(_AGENTS.c.host)).scalars())
