"""A configurator process inside a namespace, and a real device behind the management network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 -- real devices need the real one
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.trial.unittest import TestCase

from nfp.device.config import read
from nfp.device.tap import wire
from nfp.model.devices import DeviceAddress
from nfp.model.digest import digest
from nfp.model.firewall import normalise
from nfp.model.requests import tree_of
from nfp.netns.inside import popen_inside
from nfp.pki.authority import Authority
from nfp.rest.client import JsonClient
from nfp.rest.dial import Dial
from nfp.rest.tls import client_options
from tests.functional.configurator.process import DEADLINE, MONITOR, request, until
from tests.functional.device.lab import TREE, Inside, Lab, allow, firewall

ROOT = Path(__file__).resolve().parents[3]
PORT = 9443
SERVICE = "0d1f3b52-7c55-4d3c-9d11-0e9b7c8f1a2b"


class RealDevice(TestCase):
    timeout = 90

    def setUp(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.build())

    async def build(self) -> None:
        self.top: Any = None
        self.lab = lab = Lab()
        self.addCleanup(lab.remove)
        lab.build_chain()
        self.addCleanup(self.down)
        Authority.load(lab.directory / "pki").issue("agent.test")
        await self.serve()
        await self.configurator()
        tls = client_options("configurator.test", lab.pki("agent.test.pem"), lab.pki("ca.pem"))
        way = Inside(reactor, lab.management, f"{lab.prefix}2", PORT)
        self.client = JsonClient(
            reactor, Dial("https://configurator.test", lambda _: wrapClientTLS(tls, way))
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(self.client.close()))
        self.address = DeviceAddress("d1", lab.address(), 9444, "device.test")
        self.boot: str | None = None
        self.sequence = 0

    async def serve(self) -> None:
        top: Any = wire(reactor, read([self.lab.settings()]))
        top.privilegedStartService()
        top.startService()
        self.top = top
        await top.getServiceNamed("runtime").started
        control = self.lab.control(reactor)
        where = {"namespace": self.lab.device(), "address": self.lab.address(), "port": 9444}
        await control.request("PUT", "/v1/namespaces/d1", where)
        await control.close()

    def down(self) -> Any:
        top, self.top = self.top, None
        return top.stopService() if top is not None else None

    async def configurator(self) -> None:
        lab = self.lab
        config, ready = lab.directory / "configurator.conf", lab.directory / "configurator.ready"
        config.write_text(
            f"[configurator]\nlisten = [{lab.prefix}2]:{PORT}\nworkers = 1\n"
            f"certificate = {lab.pki('configurator.test.pem')}\nca = {lab.pki('ca.pem')}\n"
        )
        log = (lab.directory / "configurator.log").open("ab")
        self.addCleanup(log.close)
        argv = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
        argv += ["--logger=nfp.daemon.journal.to_stderr", "nfp-configurator", "--config", str(config)]
        argv += ["--ready-file", str(ready)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = popen_inside(lab.management, argv, stderr=log, stdout=log, env=environ, cwd=lab.directory)
        self.addCleanup(self.end, process)
        await until(lambda: ready.exists() or process.poll() is not None, "the configurator is ready")
        self.assertTrue(ready.exists(), (lab.directory / "configurator.log").read_text())

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.wait(20)

    async def next(self, wanted: str, **matching: Any) -> dict[str, Any]:
        """Poll until a notification of a kind comes whose data match."""
        end = reactor.seconds() + DEADLINE
        while reactor.seconds() < end:
            params: dict[str, Any] = {"after": self.sequence, "wait": 1}
            params |= {"boot": self.boot} if self.boot else {}
            _, answer = await self.client.request("GET", "/v1/nfp/notifications", params=params)
            self.boot = answer["boot_id"]
            for item in answer["notifications"]:
                self.sequence = item["sequence"]
                data = item["notification"][0]["data"]
                if item["kind"] == wanted and matching.items() <= data.items():
                    return data
        raise AssertionError(f"no {wanted} with {matching} within {DEADLINE:g} s")

    async def tell(
        self, operation: str, *items: tuple[str, dict[str, Any]], **context: Any
    ) -> dict[str, Any]:
        body = request(self.address, *items, **context)
        await self.client.request("POST", f"/v1/nfp/{operation}", body)
        return tree_of(body["config"])

    async def test_I8_packets_pass_as_told_and_every_digest_is_read_back(self) -> None:
        for port in (80, 22):
            self.lab.echo(port)
        tree = await self.tell(
            "create_nsd_config",
            ("interfaces", {"interfaces": TREE["interfaces"]}),
            ("routes", {"routes": TREE["routes"]}),
        )
        data = await self.next("nsd_config_notification")
        self.assertEqual((data["outcome"], data["digest"]), ("applied", digest(tree)), data)
        wanted = firewall(allow(80))
        wanted |= normalise({"firewall": wanted["firewall"]})
        create = "create_network_service_config"
        tree = await self.tell(create, ("firewall", wanted), network_service_id=SERVICE)
        data = await self.next("nsd_config_notification")
        self.assertEqual((data["outcome"], data["digest"]), ("applied", digest(tree)), data)
        self.assertEqual([self.lab.passes(port) for port in (80, 22)], [True, False])
        await self.tell(
            "delete_network_service_config", ("firewall", {}), network_service_id=SERVICE, order=[1, 2]
        )
        data = await self.next("nsd_config_notification")
        self.assertEqual((data["outcome"], data["digest"]), ("applied", None), data)
        await self.tell("delete_nsd_config", ("interfaces", {}), order=[1, 3])
        await self.next("nsd_config_notification", outcome="applied", digest=None)

    async def test_a_device_that_dies_is_told_down(self) -> None:
        monitor = {**MONITOR, "level": "management"}
        await self.tell("create_network_service_healthmonitor", ("healthmonitor", {"monitor": monitor}))
        await self.next("nsd_health_status_notification", nsd_id="d1", status="UP")
        await self.down()
        await self.next("nsd_health_status_notification", nsd_id="d1", status="DOWN")
        await self.serve()
        await self.next("nsd_health_status_notification", nsd_id="d1", status="UP")
