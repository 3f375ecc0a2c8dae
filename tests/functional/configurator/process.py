"""A real configurator process, a client with a certificate, and a device that says how it is."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from klein import Klein
from twisted.internet import reactor  # noqa: TID251 -- real processes need the real one
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.iweb import IRequest

from nfp.model.devices import DeviceAddress
from nfp.model.digest import digest
from nfp.model.requests import body
from nfp.pki.authority import Authority
from nfp.rest.bodies import read_json
from nfp.rest.client import JsonClient
from nfp.rest.dial import over_tcp
from nfp.rest.errors import answer_json
from nfp.rest.site import json_site
from nfp.rest.tls import client_options, over_tls, server_options
from tests.functional.proxy.twistd import Process

DEADLINE = 30.0
MONITOR = {"interval": 0.1, "timeout": 1, "fall": 2, "rise": 1, "level": "management"}


class Device:
    """A device that says how it is, and takes its time to be configured."""

    app = Klein()

    def __init__(self) -> None:
        self.well = True
        self.orders: list[list[int]] = []

    @app.route("/v1/device", methods=["PUT"])
    async def configure(self, request: IRequest) -> bytes:
        body = read_json(request)
        self.orders.append(body["order"])
        await deferLater(reactor, 0.02)
        return answer_json(request, {"digest": digest(body["tree"])})

    @app.route("/v1/health")
    def health(self, request: IRequest) -> bytes:
        if self.well:
            return answer_json(request, {"status": "UP"})
        return answer_json(request, {"status": "DOWN", "reason": "told so"}, 503)


class ConfiguratorCase(TestCase):
    """Each test has a directory, a CA, and a configurator's configuration of its own."""

    timeout = 90

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nfp-cfg-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.authority = Authority.create(self.directory / "pki")
        for name in ("configurator.service", "agent.h1", "device.h1", "proxy.h1"):
            self.authority.issue(name)
        self.port = free_port()
        self.config = self.directory / "nfp.conf"
        self.write()
        self.sequence = 0
        self.boot: str | None = None

    def write(self, **options: object) -> None:
        lines = {
            "listen": f"127.0.0.1:{self.port}",
            "workers": 2,
            "certificate": self.authority.path("configurator.service"),
            "ca": self.authority.ca_path,
            **options,
        }
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        self.config.write_text(f"[DEFAULT]\ngraceful_shutdown_timeout = 5\n[configurator]\n{text}")

    async def start(self) -> Process:
        process = Process("nfp-configurator", self.config, self.directory)
        self.addCleanup(process.stop)
        await until(lambda: process.ready or process.process.poll() is not None, "the configurator starts")
        self.assertTrue(process.ready, process.log_path.read_text())
        return process

    def client(self, name: str = "agent.h1") -> JsonClient:
        tls = client_options(
            "configurator.service", str(self.authority.path(name)), str(self.authority.ca_path)
        )
        client = JsonClient(reactor, over_tcp("127.0.0.1", self.port, tls=tls), timeout=20)
        self.addCleanup(lambda: closed(client))
        return client

    def device(self, nsd_id: str = "d1") -> tuple[Device, DeviceAddress]:
        device = Device()
        options = server_options(str(self.authority.path("device.h1")), str(self.authority.ca_path))
        port = reactor.listenTCP(
            0, over_tls(options, json_site(device.app.resource(), reactor)), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        return device, DeviceAddress(nsd_id, "127.0.0.1", port.getHost().port, "device.h1")

    async def poll(self, client: JsonClient, wait: float = 5) -> list[Any]:
        """Fetch what is new, and acknowledge what the last poll gave."""
        params: dict[str, Any] = {"after": self.sequence, "wait": wait}
        if self.boot is not None:
            params["boot"] = self.boot
        _, answer = await client.request("GET", "/v1/nfp/notifications", params=params)
        self.boot, self.sequence = answer["boot_id"], answer["next"]
        return answer["notifications"]

    async def verdict(self, client: JsonClient, wanted: str, nsd_id: str = "d1") -> dict[str, Any]:
        """Poll until a device is told to be *wanted*."""
        end = reactor.seconds() + DEADLINE
        while reactor.seconds() < end:
            for item in await self.poll(client, wait=1):
                data = item["notification"][0]["data"]
                if data.get("nsd_id") == nsd_id and data["status"] == wanted:
                    return data
        raise AssertionError(f"{nsd_id} was not told to be {wanted} within {DEADLINE:g} s")


def request(device: DeviceAddress, *items: tuple[str, dict[str, Any]], **context: Any) -> dict[str, Any]:
    """A body as the manager builds it."""
    return body(
        service_type="FIREWALL",
        service_vendor="nftables",
        context={"nsd_id": device.nsd_id, "order": [1, 1], **context},
        device=device,
        config=[{"resource": name, "resource_data": data} for name, data in items],
    )


async def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait until *condition* holds."""
    end = reactor.seconds() + deadline
    while not (found := condition()):
        if reactor.seconds() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        await deferLater(reactor, 0.02)
    return found


async def closed(client: JsonClient) -> None:
    """Close a client's connections and let the reactor see them go."""
    await client.close()


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
