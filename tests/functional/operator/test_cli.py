"""The command ``nfp`` as a process of its own, over a real broker, with a manager in memory behind it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet import reactor  # noqa: TID251 -- the functional tests run on the real one
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from nfp.model.errors import Unavailable
from nfp.operator.manager import TOPIC
from nfp.rpc.connection import RpcConnection
from nfp.rpc.envelope import Request
from nfp.rpc.options import RpcOptions
from nfp.rpc.server import RpcServer
from tests.functional.broker import broker
from tests.unit.operator.manager_double import ManagerDouble

REQUEST = {
    "tenant_id": "t",
    "service_id": "s",
    "service_profile": {"service_type": "FIREWALL"},
    "service_config": {"firewall": {"rules": []}},
}


class CliCase(TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        node = await deferToThread(broker)
        self.double = ManagerDouble()
        self.seen: list[Request] = []
        exchange = f"cli{uuid4().hex}"
        # The topic's queue is shared by all tests on this broker; the exchange keeps others' messages away.
        self.connection = RpcConnection(reactor, node.url, RpcOptions(exchange=exchange))
        server = RpcServer(self.connection, TOPIC, "here", self.dispatch, durable=True, prefetch=10)
        self.connection.startService()
        server.startService()
        self.addCleanup(self.connection.stopService)
        self.addCleanup(server.stopService)
        await server.when_ready()
        self.directory = self.make_directory()
        self.configure(node.address, exchange)

    def make_directory(self) -> Path:
        made = Path(self.mktemp()).absolute()
        made.mkdir()
        return made

    def configure(self, url: str, exchange: str) -> None:
        (self.directory / "nfp.conf").write_text(
            f"[DEFAULT]\ntransport_url={url}\ncontrol_exchange={exchange}\n"
        )

    async def dispatch(self, request: Request) -> object:
        self.seen.append(request)
        return await self.double.answer(request.method, dict(request.args))

    async def nfp(self, *words: str) -> tuple[int, str, str]:
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "nfp.operator.cli.main", "--state-dir", str(self.directory), *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return code, out.decode(), err.decode()

    async def json(self, *words: str) -> Any:
        code, out, err = await self.nfp(*words, "-f", "json")
        self.assertEqual(code, 0, err)
        return json.loads(out)


class Commands(CliCase):
    async def test_a_service_is_created_listed_updated_and_deleted(self) -> None:
        path = self.directory / "request.json"
        path.write_text(json.dumps({**REQUEST, "name": "fw"}))
        made = await self.json("service", "create", "--file", str(path), "--wait")
        self.assertEqual(made["status"], "ACTIVE")
        self.assertEqual([row["id"] for row in await self.json("service", "list")], [made["id"]])
        code, out, _ = await self.nfp("service", "show", "fw")
        self.assertEqual(code, 0)
        self.assertIn(made["id"], out)
        changed = await self.json("service", "update", "fw", "--description", "new", "--wait")
        self.assertEqual(changed["description"], "new")
        code, out, err = await self.nfp("service", "delete", "fw", "--wait")
        self.assertEqual((code, out), (0, ""))
        self.assertIn("PENDING_DELETE: unplugging", err)
        self.assertEqual(self.double.services, {})

    async def test_an_error_of_the_manager_is_told_with_the_request_id_that_it_knows(self) -> None:
        code, out, err = await self.nfp("service", "create", "--name", "x")
        self.assertEqual((code, out), (1, ""))
        [request] = self.seen
        request_id = request.context["request_id"]
        self.assertEqual(err, f"Invalid: network_service.tenant_id: is required (request {request_id})\n")

    async def test_what_the_manager_cannot_do_now_is_told(self) -> None:
        self.double.errors = [Unavailable("the database cannot be reached")]
        code, _, err = await self.nfp("service", "list")
        self.assertEqual(code, 1)
        self.assertRegex(err, r"^Unavailable: the database cannot be reached \(request req-")

    async def test_debug_shows_the_log(self) -> None:
        code, _, err = await self.nfp("--debug", "service", "list")
        self.assertEqual(code, 0)
        self.assertIn('"event": "connected to the broker"', err)


class Troubles(CliCase):
    async def test_a_topic_that_nobody_serves_is_told(self) -> None:
        text = (self.directory / "nfp.conf").read_text()
        (self.directory / "nfp.conf").write_text(text.replace("control_exchange=", "control_exchange=other"))
        code, _, err = await self.nfp("service", "list")
        self.assertEqual(code, 1)
        self.assertRegex(err, r"^Unroutable: nobody serves nfp-service-manager \(request req-")

    async def test_a_broker_that_is_away_is_told(self) -> None:
        self.configure("rabbit://guest:topsecret@127.0.0.1:1//", "x")
        code, _, err = await self.nfp("service", "list")
        self.assertEqual(code, 1)
        self.assertIn("no connection to broker 127.0.0.1:1", err)
        self.assertNotIn("topsecret", err)
        self.assertNotIn("Traceback", err)

    async def test_a_password_that_is_wrong_is_told(self) -> None:
        text = (self.directory / "nfp.conf").read_text()
        (self.directory / "nfp.conf").write_text(text.replace(":guest@", ":topsecret@"))
        code, _, err = await self.nfp("service", "list")
        self.assertEqual(code, 1)
        self.assertIn("refuse", err)
        self.assertNotIn("topsecret", err)

    async def test_a_missing_state_directory_is_told(self) -> None:
        (self.directory / "nfp.conf").unlink()
        code, _, err = await self.nfp("service", "list")
        self.assertEqual((code, err), (1, f"{self.directory}/nfp.conf: No such file or directory\n"))
