"""The reference vendor: nftables on the reference device runtime, asked over HTTPS with mutual TLS."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from twisted.logger import Logger
from zope.interface import implementer

from nfp.configurator.interfaces import DRIVER_API, IFirewallDriver
from nfp.daemon.inflight import InFlight
from nfp.model import firewall
from nfp.model.devices import DeviceAddress, DeviceRequest, Nsd
from nfp.model.errors import Invalid, NotFound, Permanent, Transient
from nfp.model.secret import Secret
from nfp.model.states import ServiceType
from nfp.rest.client import JsonClient
from nfp.rest.dial import over_tcp
from nfp.rest.tls import client_options

MOST_CLIENTS = 1024

Connect = Callable[[DeviceAddress], JsonClient]


@lru_cache(maxsize=1)
def make(settings: Any, reactor: Any) -> NftablesDriver:
    """Make the driver as its entry point does; one for all modules of a process, which share its connections.

    :param settings: the configurator's: ``certificate``, ``ca``, ``device_timeout``.
    """

    def connect(device: DeviceAddress) -> JsonClient:
        tls = client_options(device.server_name, settings.certificate, settings.ca)
        dial = over_tcp(device.address, device.port, server_name=device.server_name, tls=tls)
        return JsonClient(reactor, dial, timeout=settings.device_timeout, pool_size=2)

    return NftablesDriver(connect)


@implementer(IFirewallDriver)
class NftablesDriver:
    """Speaks the device's REST interface.

    :param connect: makes the client for a device; one is kept for each.
    """

    log = Logger()
    DRIVER_API = DRIVER_API
    name = "nftables"
    service_types = (ServiceType.FIREWALL.value,)

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._clients: OrderedDict[DeviceAddress, JsonClient] = OrderedDict()
        self._closing = InFlight(self.log)

    def capabilities(self) -> Mapping[str, object]:
        """What it can do."""
        return {
            "service_types": list(self.service_types),
            "ip_versions": [4, 6],
            "actions": list(firewall.ACTIONS),
            "services": 1,
        }

    def validate(self, config: Mapping[str, object]) -> Sequence[tuple[str, str]]:
        """Everything that can be written canonically can be rendered."""
        try:
            firewall.normalise(config)
        except Invalid as error:
            return [(error.field or firewall.FIELD, error.reason)]
        return []

    def bootstrap(self, nsd: Nsd) -> Mapping[str, object]:
        """The runtime is there before the device."""
        return {}

    async def configure_interfaces(self, request: DeviceRequest) -> None:
        """The device takes interfaces and routes at once: with the routes."""

    async def configure_routes(self, request: DeviceRequest) -> str:
        """``PUT /v1/device``."""
        return await self._put(request, "/v1/device", {"tree": request.tree})

    async def clear(self, request: DeviceRequest) -> None:
        """``DELETE /v1/device``."""
        await self._delete(request, "/v1/device")

    async def apply(self, request: DeviceRequest, service_id: str) -> str:
        """``PUT /v1/services/<id>``."""
        body = {"kind": "firewall", "tree": request.tree}
        return await self._put(request, _service(service_id), body)

    async def remove(self, request: DeviceRequest, service_id: str) -> None:
        """``DELETE /v1/services/<id>``."""
        await self._delete(request, _service(service_id))

    async def apply_license(self, request: DeviceRequest, key: Secret) -> None:
        """It needs none."""
        raise Permanent("nftables needs no licence")

    async def release_license(self, request: DeviceRequest) -> None:
        """It has none."""

    async def probe(self, device: DeviceAddress, level: str, timeout: float) -> None:
        """``GET /v1/health``."""
        status, answer = await self._client(device).request(
            "GET", "/v1/health", params={"level": level}, timeout=timeout, accept=(503,)
        )
        if status != 200:
            raise Transient(_complaint(answer))

    async def read_back(self, device: DeviceAddress) -> Mapping[str, object]:
        """``GET /v1/device``."""
        return await self._get(device, "/v1/device")

    async def status(self, device: DeviceAddress, service_id: str) -> Mapping[str, object]:
        """``GET /v1/services/<id>``."""
        return await self._get(device, _service(service_id))

    async def _get(self, device: DeviceAddress, path: str) -> Mapping[str, object]:
        _, answer = await self._client(device).request("GET", path)
        if not isinstance(answer, Mapping):
            raise Transient(f"the device answered GET {path} without an object")
        return answer

    async def _put(self, request: DeviceRequest, path: str, body: Mapping[str, object]) -> str:
        body = {"order": list(request.order), **body}
        _, answer = await self._client(request.device).request("PUT", path, body)
        digest = answer.get("digest") if isinstance(answer, Mapping) else None
        if not isinstance(digest, str):
            raise Transient("the device took the configuration, but what it runs is not that")
        return digest

    async def _delete(self, request: DeviceRequest, path: str) -> None:
        try:
            await self._client(request.device).request("DELETE", path, {"order": list(request.order)})
        except NotFound:
            return

    def _client(self, device: DeviceAddress) -> JsonClient:
        client = self._clients.pop(device, None) or self._connect(device)
        self._clients[device] = client
        if len(self._clients) > MOST_CLIENTS:
            _, oldest = self._clients.popitem(last=False)
            _ = self._closing.start("close the connections to a device", oldest.close())
        return client


def _service(service_id: str) -> str:
    return f"/v1/services/{quote(service_id, safe='')}"


def _complaint(answer: Any) -> str:
    """Why a device says that it is not well, in whichever of its two shapes."""
    if isinstance(answer, Mapping):
        told = answer.get("error")
        reason = answer.get("reason") or (told.get("message") if isinstance(told, Mapping) else None)
        if reason:
            return str(reason)
    return "the device says that it is not well"
