"""A world in memory around the real convergers: a lifecycle driver, a configurator, devices, and faults.

Nothing here happens by itself: each thing is done when a test says so, so that results can be late,
twice, out of order or lost, and so that a worker can be killed between any two steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from nfp.manager.converge import Converger
from nfp.manager.devices import DeviceKind
from nfp.manager.instruct import Instructor
from nfp.manager.interfaces import ILifeCycleDriver
from nfp.manager.plan.device import Policy
from nfp.manager.services import ServiceKind
from nfp.manager.store import accept, leases, news
from nfp.manager.store.engine import Inline, Store
from nfp.manager.store.tables import NetworkService, NetworkServiceDevice, NetworkServiceInstance
from nfp.model import requests
from nfp.model.devices import (
    CreatedNsd,
    Healthcheck,
    NetworkServiceSpec,
    Nsd,
    NsdStatus,
    PluggedInterface,
    Port,
    SharingInfo,
)
from nfp.model.digest import digest
from nfp.model.errors import Stale, Transient
from nfp.model.states import BackendStatus
from nfp.process.interfaces import RunAgain, Settled
from tests.unit.manager.requests import engine_in_memory, message

T = TypeVar("T")

AGENT = "agent-host"
CONFIGURATOR = "service"
RESYNC = 300.0
BAD_PORT = 666
"""A firewall that lets this port through is refused by every device, for good."""


class Killed(BaseException):
    """The worker was killed here."""


@dataclass
class Device:
    """What really is on a device."""

    ports: dict[str, Port] = field(default_factory=dict)
    config: Any = None
    services: dict[str, Any] = field(default_factory=dict)
    order: tuple[int, ...] = (0, 0)


@implementer(ILifeCycleDriver)
class Driver:
    """Makes devices out of nothing.

    :ivar failing: method → errors that its next calls raise, *after* they have done their work.
    """

    name = "fake"

    def __init__(self, strike: Callable[[str], None]) -> None:
        self.devices: dict[str, Device] = {}
        self.failing: dict[str, list[Exception]] = {}
        self.shareable = 8
        self.calls: list[str] = []
        self._strike = strike

    def _done(self, method: str) -> None:
        self.calls.append(method)
        self._strike(f"after {method}")
        if self.failing.get(method):
            raise self.failing[method].pop(0)

    async def create_nsd(self, nsd: Nsd) -> CreatedNsd:
        self._strike("before create_nsd")
        device = self.devices.setdefault(nsd.id, Device())
        device.ports.update({port.id: port for port in nsd.ports})
        self._done("create_nsd")
        return CreatedNsd(nsd.id, "fd00::1", tuple(_interface(port) for port in nsd.ports), answering=True)

    async def delete_nsd(self, nsd: Nsd) -> None:
        self.devices.pop(nsd.id, None)
        self._done("delete_nsd")

    async def select_nsd(self, network_service: NetworkServiceSpec, candidates: Sequence[Nsd]) -> Nsd | None:
        return candidates[0] if candidates else None

    async def get_nsd_status(self, nsd: Nsd) -> NsdStatus:
        self._done("get_nsd_status")
        return NsdStatus(BackendStatus.ACTIVE if nsd.id in self.devices else BackendStatus.GONE)

    async def plug_nsd_interface(self, nsd: Nsd, interface: Port) -> PluggedInterface:
        if nsd.id not in self.devices:
            raise Transient("no such device")
        self.devices[nsd.id].ports[interface.id] = interface
        self._done("plug_nsd_interface")
        return _interface(interface)

    async def unplug_nsd_interface(self, nsd: Nsd, interface: Port) -> None:
        if nsd.id in self.devices:
            self.devices[nsd.id].ports.pop(interface.id, None)
        self._done("unplug_nsd_interface")

    async def get_nsd_sharing_info(self, network_service: NetworkServiceSpec) -> SharingInfo:
        key = f"{network_service.service_chain_id} {network_service.ports[0].backend_id}"
        return SharingInfo(self.shareable > 1, "chain", self.shareable, 8, key)

    async def get_nsd_healthcheck_info(self, nsd: Nsd) -> Healthcheck:
        return Healthcheck("fd00::1", 9444, "device")

    async def get_nsd_config_info(
        self, nsd: Nsd, interfaces: Sequence[PluggedInterface]
    ) -> Sequence[Mapping[str, object]]:
        told = [{"port_id": one.port_id, "addresses": list(one.addresses)} for one in interfaces]
        return ({"resource": "interfaces", "resource_data": {"interfaces": told}},)

    async def get_network_service_config_info(
        self, network_service: NetworkServiceSpec, nsd: Nsd, interfaces: Sequence[PluggedInterface]
    ) -> Sequence[Mapping[str, object]]:
        return ({"resource": "firewall", "resource_data": {"firewall": network_service.config["firewall"]}},)


def _interface(port: Port) -> PluggedInterface:
    return PluggedInterface(port.id, f"eth-{port.id[:4]}", port.mac_address or "", port.addresses)


class Configurator:
    """Takes requests, does them on devices one by one, and keeps the results until they are acknowledged.

    :ivar devices: shared with the driver.
    :ivar losing: errors that the next calls end with, and whether the request is taken all the same.
    """

    def __init__(self, devices: dict[str, Device], strike: Callable[[str], None]) -> None:
        self.devices = devices
        self.losing: list[tuple[Exception, bool]] = []
        self.unwilling = 0
        self.told: list[tuple[str, Any]] = []
        self._strike = strike
        self._boots = 0
        self.restart()

    def restart(self) -> None:
        """Be born again, knowing nothing."""
        self._boots += 1
        self.boot = f"boot-{self._boots}"
        self.queue: list[tuple[str, Mapping[str, Any]]] = []
        self.outbox: list[dict[str, Any]] = []
        self._sequence = 0
        self._orders: dict[str, tuple[int, ...]] = {}
        self.monitored: set[str] = set()

    async def call(self, host: str, method: str, args: Mapping[str, Any]) -> Any:
        """Take a request, as the agent hands it over."""
        assert host == AGENT
        self._strike(f"before {method}")
        error, taken = self.losing.pop(0) if self.losing else (None, True)
        if taken:
            context = args["request"]["info"]["context"]
            order = tuple(context["order"])
            if order < self._orders.get(context["nsd_id"], (0, 0)):
                raise Stale("order is below the highest seen")
            self._orders[context["nsd_id"]] = order
            self.told.append((method, context))
            self.queue.append((method, args["request"]))
        self._strike(f"after {method}")
        if error is not None:
            raise error
        return {"boot_id": self.boot}

    def work(self) -> bool:
        """Do the next request; its result goes to the outbox."""
        if not self.queue:
            return False
        method, request = self.queue.pop(0)
        context = request["info"]["context"]
        device = self.devices.get(context["nsd_id"])
        kind = requests.NSD_CONFIG_NOTIFICATION
        tree = requests.tree_of(request["config"])
        outcome: dict[str, Any] = {"outcome": "applied", "digest": digest(tree)}
        order = tuple(context["order"])
        if method == requests.CREATE_HEALTHMONITOR:
            kind = requests.HEALTHMONITOR_CONFIG_NOTIFICATION
            self.monitored.add(context["nsd_id"])
        elif method == requests.DELETE_HEALTHMONITOR:
            self.monitored.discard(context["nsd_id"])
            return True
        elif device is None:
            outcome = {"outcome": "refused", "digest": None, "transient": True, "reason": "cannot be reached"}
        elif order < device.order:
            return True
        elif self.unwilling:
            self.unwilling -= 1
            outcome = {"outcome": "refused", "digest": None, "transient": True, "reason": "not now"}
        elif method == requests.CREATE_SERVICE_CONFIG and str(BAD_PORT) in str(tree):
            outcome = {"outcome": "refused", "digest": None, "transient": False, "reason": "bad port"}
        else:
            device.order = order
            self._apply(method, context, device, tree)
            if method.startswith("delete"):
                outcome["digest"] = None
        self._tell(requests.result(kind, request, **outcome))
        if method == requests.CREATE_HEALTHMONITOR:
            self.health(context["nsd_id"], "UP" if device is not None else "DOWN")
        return True

    @staticmethod
    def _apply(method: str, context: Mapping[str, Any], device: Device, tree: Any) -> None:
        match method:
            case requests.CREATE_NSD_CONFIG:
                device.config = tree
            case requests.DELETE_NSD_CONFIG:
                device.config = None
            case requests.CREATE_SERVICE_CONFIG:
                device.services[context["network_service_id"]] = tree
            case requests.DELETE_SERVICE_CONFIG:
                device.services.pop(context["network_service_id"], None)

    def health(self, nsd_id: str, status: str) -> None:
        """Have a monitor's verdict in the outbox."""
        self._tell(
            requests.health_status(
                nsd_id, {}, status=status, since="2026-01-01T00:00:00", level="management", reason="probed"
            )
        )

    def _tell(self, notification: dict[str, Any]) -> None:
        self._sequence += 1
        self.outbox.append({"sequence": self._sequence, **notification})


class World:
    """One manager worker, one agent, one configurator.

    :param beside: a world of another manager host, whose outside is ours too.
    :ivar woken: keys that are to be run.
    :ivar strikes: how many points are passed before the worker is killed; ``None``: it lives.
    :ivar before: called before each transaction of the worker, *after* after it.
    :ivar reported: what node drivers were told, per service the last.
    """

    def __init__(
        self,
        host: str = "host",
        engine: sa.Engine | None = None,
        clock: Clock | None = None,
        beside: World | None = None,
    ) -> None:
        self.host = host
        self.engine = engine or engine_in_memory()
        self.clock = clock or Clock()
        if clock is None:
            self.clock.advance(1_000_000.0)
        self.store = _Struck(self.engine, Inline(), self.clock, self._strike)
        self.before: Callable[[], None] = _nothing
        self.after: Callable[[], None] = _nothing
        self.driver = beside.driver if beside else Driver(self._strike)
        self.configurator = beside.configurator if beside else Configurator(self.driver.devices, self._strike)
        self.woken: list[str] = []
        self.timers: dict[str, float] = {}
        self.strikes: int | None = None
        self.reported: dict[str, tuple[str, str]] = {}
        self.reports: list[tuple[str, str]] = []
        self.random = random.Random(1)
        self._messages = 0
        self._lives = 0
        self._convergers: dict[str, Converger[Any]] = {}
        self.started_at = self.clock.seconds()
        self._hire()
        self.report()

    def close(self) -> None:
        """Let the store go."""
        self.engine.dispose()

    # What callers want

    def create(self, service: Mapping[str, Any]) -> str:
        """Accept a create; gives the service's id."""
        accepted = self.do(accept.create, service, self._message())
        if accepted.wake:
            self.wake(f"service:{accepted.service_id}")
        return str(accepted.service_id)

    def update(self, service_id: str, **changes: Any) -> None:
        """Accept an update."""
        if self.do(accept.update, service_id, changes, self._message()).wake:
            self.wake(f"service:{service_id}")

    def delete(self, service_id: str) -> None:
        """Accept a delete."""
        if self.do(accept.delete, service_id, self._message()).wake:
            self.wake(f"service:{service_id}")

    # What happens

    def do(self, function: Callable[..., T], *args: Any) -> T:
        """Run a transaction that nothing disturbs."""
        with self.engine.begin() as connection:
            return function(connection, *args)

    def wake(self, key: str) -> None:
        """Have *key* run."""
        self.timers.pop(key, None)
        if key not in self.woken:
            self.woken.append(key)

    def run(self, key: str) -> None:
        """Run *key* to its end, or to the worker's."""
        if key in self.woken:
            self.woken.remove(key)
        try:
            ended = self.finish(self._convergers[key.partition(":")[0]].run(key))
        except Killed:
            self.replace_worker()
            return
        if isinstance(ended, RunAgain) and key not in self.woken:
            self.timers[key] = self.clock.seconds() + ended.delay
        else:
            assert isinstance(ended, RunAgain | Settled)

    def finish(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that waits for nothing but the next try of a transaction."""
        ended: list[Any] = []
        _ = Deferred.fromCoroutine(coroutine).addBoth(ended.append)
        while not ended:
            self.clock.advance(1.0)
        if isinstance(ended[0], Failure):
            ended[0].raiseException()
        result: T = ended[0]
        return result

    def replace_worker(self) -> None:
        """Start another worker after the death of one, as the listener does."""
        self.strikes = None
        self.woken.clear()
        self.timers.clear()
        self.do(leases.clear, f"{self.host}/0/")
        self._hire()
        self.sweep()

    def sweep(self) -> None:
        """Wake what is unsettled or waits."""
        for prefix, table in (("service", leases.CONVERGED[0]), ("device", leases.CONVERGED[1])):
            for object_id in self.do(leases.unsettled, table):
                self.wake(f"{prefix}:{object_id}")

    def report(self, host: str = AGENT, boot: str | None = None) -> None:
        """The agent reports itself."""
        known = [{"name": CONFIGURATOR, "boot_id": boot or self.configurator.boot, "reachable": True}]
        for key in self.do(news.agent_report, host, "agent-boot", known):
            self.wake(key)

    def deliver(self, index: int = 0, *, again: bool = False) -> bool:
        """Store one notification of the outbox.

        :param again: it is not acknowledged, so that it comes once more.
        """
        outbox = self.configurator.outbox
        if not outbox:
            return False
        item = outbox[index % len(outbox)]
        if not again:
            outbox.remove(item)
        data = item["notification"][0]["data"]
        match item["kind"]:
            case requests.NSD_CONFIG_NOTIFICATION:
                args: tuple[Any, ...] = (news.config_result, item["info"], data, self.clock.seconds())
                keys = self.do(*args, self.random)
            case requests.HEALTHMONITOR_CONFIG_NOTIFICATION:
                keys = self.do(news.monitor_result, item["info"], data, self.clock.seconds(), self.random)
            case _:
                keys = self.do(news.health_status, data, self.configurator.boot, item["sequence"])
        for key in keys:
            self.wake(key)
        return True

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        now = self.clock.seconds()
        for key in [key for key, due in self.timers.items() if due <= now]:
            self.wake(key)

    def settle(self, limit: float = 1500.0) -> None:
        """Let everything happen that has to, without faults, until only settled looks are left.

        :param limit: seconds of the world's time that it may take.
        """
        self.strikes = None
        self.configurator.losing.clear()
        self.driver.failing.clear()
        self.report()
        end = self.clock.seconds() + limit
        for _ in range(5000):
            if self.go_on():
                pass
            elif self.quiet():
                return
            elif self.clock.seconds() > end:
                break
            else:
                soonest = min(self.timers.values(), default=self.clock.seconds() + 5.0)
                self.tick(max(0.0, min(soonest - self.clock.seconds(), 5.0)))
        raise AssertionError(f"does not settle: {self.services()} {self.devices()} {self.timers}")

    def go_on(self) -> bool:
        """Do the next thing that is due, if there is one."""
        if not self.woken:
            return self.configurator.work() or self.deliver()
        self.run(self.woken[0])
        return True

    def look_again(self) -> None:
        """Let the interval pass after which everything settled is looked at again."""
        self.tick(RESYNC + 1.0)
        self.sweep()
        self.settle()

    def quiet(self) -> bool:
        """Whether all objects are settled, with nothing to wait for."""
        for row in (*self.services(), *self.devices()):
            if row["revision"] != row["converged_revision"] or row["waiting_for"] is not None:
                return False
        return True

    # What there is

    def services(self) -> list[dict[str, Any]]:
        """Rows of services."""
        return self._rows(NetworkService)

    def devices(self) -> list[dict[str, Any]]:
        """Rows of devices."""
        return self._rows(NetworkServiceDevice)

    def instances(self) -> list[dict[str, Any]]:
        """Rows of instances."""
        return self._rows(NetworkServiceInstance)

    def service(self, service_id: str) -> dict[str, Any]:
        """The row of one service."""
        return next(row for row in self.services() if row["id"] == service_id)

    def on_device(self, service_id: str) -> Any:
        """The tree that some device holds for a service; ``None``: none does."""
        found = [d.services[service_id] for d in self.driver.devices.values() if service_id in d.services]
        assert len(found) <= 1, "a service is on one device"
        return found[0] if found else None

    def _rows(self, model: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(model.__table__)).mappings()]

    def _message(self) -> accept.Message:
        self._messages += 1
        made = message(0)
        stamp = made.stamp._replace(timestamp=f"2026-01-01 00:00:00.{self._messages:06}")
        return accept.Message(f"{self.host}-{self._messages}", stamp, True, made.vendors)

    def _strike(self, where: str) -> None:
        if where == "before a transaction":
            self.before()
        elif where == "after a transaction":
            self.after()
        if self.strikes is None:
            return
        if self.strikes == 0:
            raise Killed(where)
        self.strikes -= 1

    def _hire(self) -> None:
        self._lives += 1
        owner = f"{self.host}/0/{self._lives}"
        instructor = Instructor(self.driver, self.configurator.call, self._learnt, self.clock)
        kinds = (
            ServiceKind(self.store, self.driver, CONFIGURATOR, {"*": "nftables"}, "test", self._tell),
            DeviceKind(self.driver, instructor, "test", self._policy, self.clock),
        )
        for kind in kinds:
            converger: Converger[Any] = Converger(
                kind, self.store, self.clock, owner, 60.0, self.wake, self.random
            )
            self._convergers[kind.prefix] = converger

    def _policy(self, now: float) -> Policy:
        return Policy(RESYNC, max(self.started_at, now - RESYNC))

    async def _learnt(self, configurator: str, boot: str) -> None:
        for key in await self.store.write(news.boot_seen, configurator, boot):
            self.wake(key)

    async def _tell(self, status: Mapping[str, Any]) -> None:
        self._strike("before telling")
        self.reported[status["network_service_id"]] = (status["status"], status["status_description"])
        self.reports.append((status["network_service_id"], status["status"]))
        self._strike("after telling")


class _Struck(Store):
    """A store whose worker may be killed before a transaction, or right after its commit."""

    def __init__(self, engine: sa.Engine, threads: Any, clock: Clock, strike: Callable[[str], None]) -> None:
        super().__init__(engine, threads, clock)
        self._strike = strike

    async def write(self, function: Callable[..., T], *args: object) -> T:
        self._strike("before a transaction")
        result = await super().write(function, *args)
        self._strike("after a transaction")
        return result


def _nothing() -> None:
    pass
