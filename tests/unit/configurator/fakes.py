"""A vendor's devices in memory, and workers without processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from nfp.configurator.drivers.registry import GROUP
from nfp.configurator.interfaces import DRIVER_API, IFirewallDriver
from nfp.configurator.modules.firewall import FirewallModule
from nfp.configurator.modules.generic import GenericModule
from nfp.model.devices import DeviceAddress
from nfp.model.digest import digest
from nfp.model.errors import Transient
from nfp.model.requests import body
from nfp.process.interfaces import Event

DEVICE = DeviceAddress("d1", "192.0.2.1", 9444, "device.h1")


@implementer(IFirewallDriver)
class MemoryDriver:
    """Devices in memory; ``trouble`` is what the next call raises."""

    DRIVER_API = DRIVER_API
    name = "memory"
    service_types = ("FIREWALL",)

    def __init__(self) -> None:
        self.trees: dict[tuple[str, str], Any] = {}
        self.trouble: Exception | None = None
        self.probes: list[Deferred[None]] = []
        self.well: bool | None = True
        self.cannot: list[tuple[str, str]] = []

    def capabilities(self) -> Mapping[str, object]:
        return {}

    def validate(self, config: Mapping[str, object]) -> Sequence[tuple[str, str]]:
        return self.cannot

    def bootstrap(self, nsd: Any) -> Mapping[str, object]:
        return {}

    async def apply_license(self, request: Any, key: Any) -> None:
        """Needs none."""

    async def release_license(self, request: Any) -> None:
        """Has none."""

    async def configure_interfaces(self, request: Any) -> None:
        """With the routes."""

    async def configure_routes(self, request: Any) -> str:
        return await self.apply(request, "")

    async def clear(self, request: Any) -> None:
        await self.remove(request, "")

    async def apply(self, request: Any, service_id: str) -> str:
        if self.trouble is not None:
            raise self.trouble
        self.trees[request.device.nsd_id, service_id] = request.tree
        return digest(request.tree)

    async def remove(self, request: Any, service_id: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.trees.pop((request.device.nsd_id, service_id), None)

    async def probe(self, device: Any, level: str, timeout: float) -> None:
        """Well, not well, or (``well`` is ``None``) silent until the test answers."""
        if self.well is None:
            self.probes.append(Deferred())
            await self.probes[-1]
        elif not self.well:
            raise Transient("connection refused")

    async def read_back(self, device: Any) -> Mapping[str, object]:
        return {}

    async def status(self, device: Any, service_id: str) -> Mapping[str, object]:
        return {}


class Settings:
    """Settings that carry the one driver of a test."""

    def __init__(self) -> None:
        self.driver = MemoryDriver()


def make(settings: Any, reactor: object) -> MemoryDriver:
    """The entry point of the driver above."""
    return settings.driver


def broken(settings: object, reactor: object) -> None:
    """The entry point of a driver that cannot be made."""
    raise RuntimeError("no licence file")


def old(settings: object, reactor: object) -> object:
    """The entry point of a driver for other contracts."""
    driver = MemoryDriver()
    driver.DRIVER_API = 99
    return driver


def partial(settings: object, reactor: object) -> object:
    """The entry point of a driver that lacks methods."""

    class Partial:
        DRIVER_API = DRIVER_API
        name = "partial"
        service_types = ("FIREWALL",)

    return Partial()


def point(name: str, function: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{function}", GROUP)


POINTS = [
    point("memory", "make"),
    point("broken", "broken"),
    point("old", "old"),
    point("partial", "partial"),
]


class Context:
    """What a module has inside a worker."""

    index = 0

    def __init__(self, clock: Clock, owner: Any) -> None:
        self.reactor = clock
        self._owner = owner

    def emit(self, name: str, payload: object) -> None:
        self._owner.on_emit(self.index, name, payload)


class InlineWorkers:
    """Workers in this process; ``busy`` ones keep what they are given until :meth:`work`."""

    def __init__(self, clock: Clock, owner: Any, settings: Settings) -> None:
        self._clock = clock
        self._owner = owner
        self._settings = settings
        self.busy = False
        self.waiting: list[tuple[Event, Deferred[object]]] = []
        self.submitted: list[Event] = []
        self.start()

    def start(self) -> None:
        self.modules = [GenericModule(self._settings, POINTS), FirewallModule(self._settings, POINTS)]
        self._handlers: dict[str, Any] = {}
        for module in self.modules:
            Deferred.fromCoroutine(module.start(Context(self._clock, self._owner)))  # type: ignore[arg-type]
            self._handlers.update(module.event_handlers())

    def die(self) -> None:
        """The worker dies and is replaced."""
        for module in self.modules:
            Deferred.fromCoroutine(module.stop())
        self.start()
        self._owner.on_started(0)

    def submit(self, event: Event) -> Deferred[object]:
        self.submitted.append(event)
        answer: Deferred[object] = Deferred()
        self.waiting.append((event, answer))
        if not self.busy:
            self.work()
        return answer

    def work(self) -> None:
        while self.waiting:
            event, answer = self.waiting.pop(0)
            Deferred.fromCoroutine(self._handlers[event.name](event)).chainDeferred(answer)


def request(
    *items: tuple[str, dict[str, Any]],
    order: tuple[int, int] = (1, 1),
    service: str | None = None,
    service_type: str = "FIREWALL",
    vendor: str = "memory",
    device: DeviceAddress = DEVICE,
) -> dict[str, Any]:
    """A body as the manager builds it."""
    return body(
        service_type=service_type,
        service_vendor=vendor,
        context={"nsd_id": device.nsd_id, "order": list(order), "network_service_id": service},
        device=device,
        config=[{"resource": name, "resource_data": data} for name, data in items],
    )


INTERFACE = {
    "port_id": "p1",
    "name": "eth1",
    "mac": "fa:16:3e:00:00:01",
    "addresses": ["10.0.0.1/24", "fd00::1/64"],
    "role": "provider",
}
NETWORKING = (
    ("interfaces", {"interfaces": [INTERFACE]}),
    ("routes", {"routes": [{"destination": "0.0.0.0/0", "nexthop": "10.0.0.254"}]}),
)
MONITOR = (
    "healthmonitor",
    {"monitor": {"interval": 1, "timeout": 2, "fall": 3, "rise": 2, "level": "config"}},
)


def policy(*rules: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A firewall's resource."""
    return (
        "firewall",
        {
            "firewall": {"rules": list(rules)},
            "provider": {"mac": "fa:16:3e:00:00:01", "cidrs": ["10.0.0.0/24"]},
            "consumer": {"mac": None, "cidrs": []},
        },
    )
