"""``twistd nfp-agent`` between a real broker and a configurator behind a real proxy."""

from __future__ import annotations

import shutil
import signal
import tempfile
import uuid
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 -- real sockets are what is tested
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nfp.model.errors import Invalid, NoSuchConfigurator, Stale
from nfp.pki.authority import Authority
from nfp.rpc.client import RpcClient
from nfp.rpc.connection import RpcConnection
from nfp.rpc.envelope import Request
from nfp.rpc.options import RpcOptions
from nfp.rpc.server import RpcServer
from tests.functional.agent.configurator import SmallConfigurator
from tests.functional.agent.test_agent_and_proxy import until
from tests.functional.broker import broker
from tests.functional.proxy.twistd import Process
from tests.unit.agent.test_rpc import BODY

TOPIC = "nfp-configurator-agent"


class AgentProcessTests(TestCase):
    timeout = 180

    async def setUp(self) -> None:
        self.node = await deferToThread(broker)
        self.exchange = f"x{uuid.uuid4().hex[:8]}"
        self.host = f"h{uuid.uuid4().hex[:8]}"
        self.where = Path(tempfile.mkdtemp(prefix="nfp-agent-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.where)
        authority = Authority.create(self.where / "pki")
        ca = str(authority.ca_path)
        self.configurator = SmallConfigurator(reactor, str(authority.issue("configurator.t1")), ca)
        self.configurator.listen()
        self.addCleanup(self.configurator.stop)
        self.config = self.where / "nfp.conf"
        self.config.write_text(
            f"""[DEFAULT]
transport_url = {self.node.address}
control_exchange = {self.exchange}
host = {self.host}
[proxy]
socket = {self.where}/t1.sock
target = 127.0.0.1:{self.configurator.number}
[agent]
configurators = t1:{self.where}/t1.sock
routers = t1:r1
certificate = {authority.issue("agent.h1", server=False)}
ca = {ca}
report_interval = 0.5
"""
        )
        self.connection = RpcConnection(reactor, self.node.url, RpcOptions(exchange=self.exchange))
        self.connection.startService()
        self.addCleanup(self.connection.stopService)
        self.client = RpcClient(self.connection)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.client.close()))
        self.reports: list[Any] = []
        manager = RpcServer(
            self.connection, "nfp-service-manager", self.host, self.report, durable=True, prefetch=10
        )
        manager.startService()
        self.addCleanup(manager.stopService)
        await manager.when_ready()
        await self.start("nfp-proxy")
        self.agent = await self.start("nfp-agent")

    async def report(self, request: Request) -> None:
        self.assertEqual(request.method, "report_agent")
        self.reports.append(request.args["agent"])

    async def start(self, name: str) -> Process:
        process = Process(name, self.config, self.where)
        self.addCleanup(process.kill)
        await until(lambda: process.ready, seconds=40)
        return process

    def call(self, method: str, **args: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(
            self.client.call(
                TOPIC, method, args, server=self.host, timeout=40, context={"request_id": "req-5"}
            )
        )

    async def test_the_whole_way_there_and_back(self) -> None:
        answer = await self.call("create_nsd_config", configurator="t1", request=BODY)
        self.assertEqual(answer, {"request_id": "req-5", "boot_id": "boot-1"})
        self.assertEqual(self.configurator.taken, [("create_nsd_config", BODY, "req-5")])

        stale = {**BODY, "info": {**BODY["info"], "context": {"nsd_id": "nsd-1", "order": [0, 1]}}}
        for error, args in (
            (Stale, {"configurator": "t1", "request": stale}),
            (NoSuchConfigurator, {"configurator": "t2", "request": BODY}),
            (Invalid, {"configurator": "t1", "request": {}}),
        ):
            with self.assertRaises(error):
                await self.call("create_nsd_config", **args)

        first = await self.call("get_notifications", wait=20)
        self.assertEqual(first["t1"]["boot_id"], "boot-1")
        asked = self.call(
            "get_notifications", acknowledge={"t1": {"boot_id": "boot-1", "sequence": 0}}, wait=20
        )
        await until(lambda: self.configurator.waiting)
        self.configurator.tell("nsd_config_notification")
        self.assertEqual([one["sequence"] for one in (await asked)["t1"]["notifications"]], [1])

        await until(lambda: self.reports and self.reports[-1]["configurators"][0]["reachable"])
        self.assertEqual(self.reports[-1]["host"], self.host)
        self.assertEqual(
            self.reports[-1]["configurators"],
            [{"name": "t1", "tenant_id": "t1", "router_id": "r1", "boot_id": "boot-1", "reachable": True}],
        )

        # A manager that waits is answered when the agent is stopped, and the agent ends cleanly.
        stored = {"t1": {"boot_id": "boot-1", "sequence": 1}}
        asked = self.call("get_notifications", acknowledge=stored, wait=40)
        await until(lambda: not self.configurator.outbox)
        self.agent.process.send_signal(signal.SIGTERM)
        self.assertEqual((await asked)["t1"]["notifications"], [])
        self.assertEqual(await deferToThread(self.agent.process.wait, 20), 0)
        self.assertFalse(self.agent.ready)

    async def test_an_agent_that_was_killed_tells_again_what_was_not_acknowledged(self) -> None:
        self.configurator.tell("one")
        self.assertEqual(len((await self.call("get_notifications", wait=20))["t1"]["notifications"]), 1)
        boots = {report["boot_id"] for report in self.reports}
        self.agent.kill()
        asked = self.call("get_notifications", wait=20)
        await self.start("nfp-agent")
        self.assertEqual(len((await asked)["t1"]["notifications"]), 1)
        await until(lambda: {report["boot_id"] for report in self.reports} - boots)
