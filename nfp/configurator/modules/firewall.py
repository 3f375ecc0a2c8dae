"""The module for service type FIREWALL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from zope.interface import implementer

from nfp.configurator.drivers.registry import DriverRegistry
from nfp.configurator.interfaces import IConfiguratorModule
from nfp.configurator.modules.answers import answer
from nfp.configurator.modules.generic import device_request
from nfp.configurator.modules.shapes import check_firewall, only
from nfp.model import firewall
from nfp.model.errors import Invalid
from nfp.model.requests import CREATE_SERVICE_CONFIG, DELETE_SERVICE_CONFIG, tree_of
from nfp.model.states import ServiceType
from nfp.process.interfaces import Event, EventHandler, IWorkerContext, KeyKind, RpcHandler

Request = Mapping[str, Any]


@implementer(IConfiguratorModule)
class FirewallModule:
    """Firewalls: their rules, applied whole and read back.

    :param settings: the configurator's settings, for the drivers.
    :param found: where drivers come from; by default the installed packages.
    """

    name = "firewall"
    service_types = (ServiceType.FIREWALL.value,)

    def __init__(self, settings: object, found: Iterable[EntryPoint] | None = None) -> None:
        self._settings = settings
        self._found = None if found is None else tuple(found)
        self._drivers: DriverRegistry

    def rpc_handlers(self) -> dict[str, RpcHandler]:
        """None: the operations are the generic module's."""
        return {}

    def event_handlers(self) -> dict[str, EventHandler]:
        """What concerns firewalls."""
        return {
            f"{CREATE_SERVICE_CONFIG}:{ServiceType.FIREWALL}": self.create_service_config,
            f"{DELETE_SERVICE_CONFIG}:{ServiceType.FIREWALL}": self.delete_service_config,
        }

    def key_kinds(self) -> dict[str, KeyKind]:
        """None."""
        return {}

    async def start(self, context: IWorkerContext) -> None:
        """Make ready in a worker."""
        self._drivers = DriverRegistry(self._settings, context.reactor, self._found)

    async def stop(self) -> None:
        """Nothing is held."""

    def check(self, operation: str, request: Request) -> None:
        """Check the rules before the request is accepted."""
        if operation == DELETE_SERVICE_CONFIG:
            only(request, "firewall")
            return
        check_firewall(request)
        try:
            _normal(request)
        except Invalid as error:
            field = (error.field or "").replace(firewall.FIELD, "config[0].resource_data", 1)
            raise Invalid(error.reason, field=field) from None

    async def create_service_config(self, event: Event) -> object:
        """Make a device's policy what the request says."""
        request: Any = event.payload["args"]

        async def work() -> str:
            driver = self._driver(request)
            policy = _normal(request)
            for field, reason in driver.validate(policy):
                raise Invalid(reason, field=field)
            wanted = device_request(request, {**tree_of(request["config"]), **policy})
            found: str = await driver.apply(wanted, _service_of(request))
            return found

        return await answer(CREATE_SERVICE_CONFIG, request, work())

    async def delete_service_config(self, event: Event) -> object:
        """Remove a firewall from its device."""
        request: Any = event.payload["args"]

        async def work() -> None:
            await self._driver(request).remove(device_request(request, {}), _service_of(request))

        return await answer(DELETE_SERVICE_CONFIG, request, work())

    def _driver(self, request: Request) -> Any:
        return self._drivers.get(ServiceType.FIREWALL, request["info"]["service_vendor"])


def _normal(request: Request) -> dict[str, Any]:
    return firewall.normalise({"firewall": request["config"][0]["resource_data"]["firewall"]})


def _service_of(request: Request) -> str:
    service: str = request["info"]["context"]["network_service_id"]
    return service
