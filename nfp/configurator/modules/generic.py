"""The module that owns the six operations, configures devices and watches them.

Services' own configuration it leaves to the module of their service type (``interfaces.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from zope.interface import implementer

from nfp.configurator.drivers.registry import DriverRegistry
from nfp.configurator.interfaces import EMITTED, IConfiguratorModule
from nfp.configurator.modules.answers import answer, applied
from nfp.configurator.modules.monitor import Monitor, Pace, Verdict
from nfp.configurator.modules.shapes import check_device, check_monitor, only
from nfp.model.devices import DeviceAddress, DeviceRequest
from nfp.model.digest import digest
from nfp.model.errors import Invalid
from nfp.model.order import Order
from nfp.model.requests import (
    BODY,
    CREATE_HEALTHMONITOR,
    CREATE_NSD_CONFIG,
    CREATE_SERVICE_CONFIG,
    DELETE_HEALTHMONITOR,
    DELETE_NSD_CONFIG,
    DELETE_SERVICE_CONFIG,
    OPERATIONS,
    device_of,
    health_status,
    tree_of,
)
from nfp.process.interfaces import Args, Event, EventHandler, IWorkerContext, KeyKind, RpcHandler

HAND_OVER = "hand_over_healthmonitor"
"""Event by which the listener hands a device's monitor to the replacement of a dead worker."""

Request = Mapping[str, Any]


def key_of(args: Args) -> str:
    """The queue key of a checked request: everything about one device runs in order."""
    request: Request = args
    return f"device:{request['info']['context']['nsd_id']}"


def device_request(request: Request, tree: Mapping[str, object]) -> DeviceRequest:
    """What a driver is asked to do."""
    return DeviceRequest(device_of(request), Order.of(request["info"]["context"]["order"]), tree)


class _Watched:
    """A device's monitor, and the request that told it last."""

    def __init__(self, request: Request, plan: object, monitor: Monitor) -> None:
        self.request = request
        self.plan = plan
        self.monitor = monitor


@implementer(IConfiguratorModule)
class GenericModule:
    """Devices: their interfaces, routes and health monitors.

    :param settings: the configurator's settings, for the drivers.
    :param found: where drivers come from; by default the installed packages.
    """

    name = "generic"
    service_types: tuple[str, ...] = ()

    def __init__(self, settings: object, found: Iterable[EntryPoint] | None = None) -> None:
        self._settings = settings
        self._found = None if found is None else tuple(found)
        self._vendors = DriverRegistry(settings, None, self._found).vendors
        self._watched: dict[str, _Watched] = {}
        self._context: IWorkerContext
        self._drivers: DriverRegistry

    def rpc_handlers(self) -> dict[str, RpcHandler]:
        """All six operations."""
        return {name: RpcHandler(schema=BODY, event=name, key=key_of) for name in OPERATIONS}

    def event_handlers(self) -> dict[str, EventHandler]:
        """What concerns devices."""
        return {
            CREATE_NSD_CONFIG: self.create_nsd_config,
            DELETE_NSD_CONFIG: self.delete_nsd_config,
            CREATE_HEALTHMONITOR: self.create_healthmonitor,
            DELETE_HEALTHMONITOR: self.delete_healthmonitor,
            HAND_OVER: self.hand_over,
        }

    def key_kinds(self) -> dict[str, KeyKind]:
        """None: monitors live beside the queue."""
        return {}

    async def start(self, context: IWorkerContext) -> None:
        """Make ready in a worker."""
        self._context = context
        self._drivers = DriverRegistry(self._settings, context.reactor, self._found)

    async def stop(self) -> None:
        """Watch nothing any more."""
        for watched in self._watched.values():
            watched.monitor.stop()
        self._watched.clear()

    def check(self, operation: str, request: Request) -> None:
        """Check vendor, service id and the resources of a device."""
        vendor = request["info"]["service_vendor"]
        if vendor not in self._vendors:
            known = ", ".join(sorted(self._vendors)) or "none is installed"
            raise Invalid(f"expected one of {known}, got {vendor!r}", field="info.service_vendor")
        match operation:
            case "create_nsd_config":
                check_device(request)
            case "create_network_service_healthmonitor":
                check_monitor(request)
            case "delete_network_service_healthmonitor":
                only(request, "healthmonitor")
            case _ if operation in (CREATE_SERVICE_CONFIG, DELETE_SERVICE_CONFIG):
                if not request["info"]["context"].get("network_service_id"):
                    raise Invalid("is required", field="info.context.network_service_id")

    async def create_nsd_config(self, event: Event) -> object:
        """Give a device its interfaces and routes."""
        request: Any = event.payload["args"]

        async def work() -> str:
            driver = self._driver(request)
            wanted = device_request(request, tree_of(request["config"]))
            await driver.configure_interfaces(wanted)
            found: str = await driver.configure_routes(wanted)
            return found

        return await answer(CREATE_NSD_CONFIG, request, work())

    async def delete_nsd_config(self, event: Event) -> object:
        """Take a device's interfaces and routes away."""
        request: Any = event.payload["args"]

        async def work() -> None:
            await self._driver(request).clear(device_request(request, {}))

        return await answer(DELETE_NSD_CONFIG, request, work())

    async def create_healthmonitor(self, event: Event) -> object:
        """Watch a device; one that is watched in this way already tells its verdict again."""
        request: Any = event.payload["args"]

        async def work() -> str:
            self._watch(request)
            return digest(tree_of(request["config"]))

        return await answer(CREATE_HEALTHMONITOR, request, work())

    async def delete_healthmonitor(self, event: Event) -> object:
        """Watch a device no more; not watched is success."""
        request: Any = event.payload["args"]
        watched = self._watched.pop(request["info"]["context"]["nsd_id"], None)
        if watched is not None:
            watched.monitor.stop()
        return applied(DELETE_HEALTHMONITOR, request, None)

    async def hand_over(self, event: Event) -> object:
        """Watch a device that a dead worker watched; answers no request."""
        request: Any = event.payload["args"]
        self._watch(request)
        return None

    def _driver(self, request: Request) -> Any:
        return self._drivers.get(request["info"]["service_type"], request["info"]["service_vendor"])

    def _watch(self, request: Request) -> None:
        device = device_of(request)
        pace = Pace.of(request["config"][0]["resource_data"]["monitor"])
        driver = self._driver(request)
        plan = (device, pace, driver)
        known = self._watched.get(device.nsd_id)
        if known is not None and known.plan == plan:
            known.request = request
            # After this request's own answer.
            self._context.reactor.callLater(0, self._tell_again, device, known)
            return
        if known is not None:
            known.monitor.stop()
        monitor = Monitor(
            self._context.reactor,
            lambda: driver.probe(device, pace.level, pace.timeout),
            pace,
            lambda verdict: self._tell(device, verdict),
        )
        self._watched[device.nsd_id] = _Watched(request, plan, monitor)
        monitor.start()

    def _tell_again(self, device: DeviceAddress, watched: _Watched) -> None:
        if self._watched.get(device.nsd_id) is watched and watched.monitor.verdict is not None:
            self._tell(device, watched.monitor.verdict)

    def _tell(self, device: DeviceAddress, verdict: Verdict) -> None:
        request = self._watched[device.nsd_id].request
        self._context.emit(
            EMITTED,
            health_status(
                device.nsd_id,
                request["info"],
                status=verdict.status,
                since=verdict.since,
                level=request["config"][0]["resource_data"]["monitor"]["level"],
                reason=verdict.reason,
            ),
        )
