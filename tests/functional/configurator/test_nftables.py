"""The reference driver against the real device runtime, held to the contract that others get."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor  # noqa: TID251 -- real devices need the real one
from twisted.internet.endpoints import wrapClientTLS

from nfp.configurator.drivers.nftables import NftablesDriver
from nfp.device.config import read
from nfp.device.tap import wire
from nfp.model.devices import DeviceAddress
from nfp.rest.client import JsonClient
from nfp.rest.dial import Dial
from nfp.rest.tls import client_options
from nfp.testing.vendor_contract import DeviceUnderTest, firewall_driver_tests
from tests.functional.device.lab import CONSUMER_MAC, PROVIDER_MAC, TREE, Inside, Lab

PORT = 9444


def make_driver(case: Any) -> NftablesDriver:
    """A driver whose connections begin in the lab's management namespace."""
    case.lab = Lab()
    case.addCleanup(case.lab.remove)
    clients: list[JsonClient] = []

    def connect(device: DeviceAddress) -> JsonClient:
        lab = case.lab
        tls = client_options(device.server_name, lab.pki("configurator.test.pem"), lab.pki("ca.pem"))
        way = Inside(reactor, lab.management, device.address, device.port)
        dial = Dial(f"https://{device.server_name}", lambda _: wrapClientTLS(tls, way))
        clients.append(JsonClient(reactor, dial))
        return clients[-1]

    async def close() -> None:
        for client in clients:
            await client.close()

    case.addCleanup(lambda: close())
    return NftablesDriver(connect)


async def make_device(case: Any) -> DeviceUnderTest:
    """A namespace that a real runtime serves."""
    lab: Lab = case.lab
    lab.build_management()
    lab.build_device(data=True)
    top: Any = wire(reactor, read([lab.settings()]))
    top.privilegedStartService()
    top.startService()
    case.addCleanup(top.stopService)
    await top.getServiceNamed("runtime").started
    control = lab.control(reactor)
    where = {"namespace": lab.device(), "address": lab.address(), "port": PORT}
    await control.request("PUT", "/v1/namespaces/d1", where)
    await control.close()
    address = DeviceAddress("d1", lab.address(), PORT, "device.test")
    return DeviceUnderTest(
        address=address,
        gone=DeviceAddress("d1", lab.address(), PORT + 1, "device.test"),
        networking=TREE,
        sides={
            "provider": {"mac": PROVIDER_MAC, "cidrs": ["10.2.0.0/24"]},
            "consumer": {"mac": CONSUMER_MAC, "cidrs": ["10.1.0.0/24"]},
        },
    )


class NftablesTests(firewall_driver_tests(make_driver, make_device)):  # type: ignore[misc]
    timeout = 60
