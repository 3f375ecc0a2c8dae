"""The agent, a real proxy process, and a configurator behind mutual TLS."""

from __future__ import annotations

import copy
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 -- real sockets are what is tested
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from nfp.agent.collecting import Collector
from nfp.agent.config import AgentSettings, ConfiguratorSettings
from nfp.agent.configurators import Configurators
from nfp.agent.rpc import AgentRpc
from nfp.model.errors import Invalid, Stale, Transient
from nfp.pki.authority import Authority
from nfp.rpc.envelope import Request
from tests.functional.agent.configurator import SmallConfigurator
from tests.functional.proxy.twistd import Process
from tests.unit.agent.test_rpc import BODY


async def until(condition: Any, seconds: float = 20.0) -> None:
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("the condition did not come true")
        await deferLater(reactor, 0.02)


class AgentTests(TestCase):
    timeout = 90

    async def setUp(self) -> None:
        self.where = Path(tempfile.mkdtemp(prefix="nfp-agent-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.where)
        authority = Authority.create(self.where / "pki")
        self.ca = str(authority.ca_path)
        self.mine = str(authority.issue("agent.host1", server=False))
        self.authority = authority
        self.configurator = SmallConfigurator(reactor, str(authority.issue("configurator.t1")), self.ca)
        self.configurator.listen()
        self.addCleanup(self.configurator.stop)
        self.socket = self.where / "proxy.sock"
        self.proxy_config = self.where / "proxy.conf"
        self.proxy_config.write_text(
            f"[proxy]\nsocket = {self.socket}\ntarget = 127.0.0.1:{self.configurator.number}\n"
        )
        self.proxy = await self.start_proxy()
        self.settings = AgentSettings(
            host="host1",
            configurators=(ConfiguratorSettings("t1", str(self.socket), "t1"),),
            certificate=self.mine,
            ca=self.ca,
            request_timeout=5.0,
        )

    async def start_proxy(self) -> Process:
        proxy = Process("nfp-proxy", self.proxy_config, self.where)
        self.addCleanup(proxy.kill)
        await until(lambda: proxy.ready)
        return proxy

    def agent(self, settings: AgentSettings | None = None, poll: bool = True) -> AgentRpc:
        configurators = Configurators(reactor, settings or self.settings)
        collector = Collector(reactor, configurators)
        if poll:
            configurators.startService()
        self.addCleanup(configurators.stopService)
        self.addCleanup(collector.stopService)
        return AgentRpc(configurators, collector)

    def call(self, agent: AgentRpc, method: str, **args: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(
            agent.dispatch(Request(method, args, context={"request_id": "req-of-the-caller"}))
        )

    async def test_an_operation_passes_with_its_request_id_and_is_answered(self) -> None:
        answer = await self.call(self.agent(), "create_nsd_config", configurator="t1", request=BODY)
        self.assertEqual(answer, {"request_id": "req-of-the-caller", "boot_id": "boot-1"})
        self.assertEqual(self.configurator.taken, [("create_nsd_config", BODY, "req-of-the-caller")])

    async def test_a_large_body_within_the_limit_passes(self) -> None:
        body = copy.deepcopy(BODY)
        body["config"][0]["resource_data"]["rules"] = ["x" * 100] * 8000
        agent = self.agent()
        await self.call(agent, "create_network_service_config", configurator="t1", request=body)
        self.assertEqual(self.configurator.taken[0][1], body)

    async def test_refusals_come_back_as_what_they_are(self) -> None:
        agent = self.agent()
        stale = copy.deepcopy(BODY)
        stale["info"]["context"]["order"] = [0, 1]
        with self.assertRaises(Stale):
            await self.call(agent, "create_nsd_config", configurator="t1", request=stale)
        large = copy.deepcopy(BODY)
        large["config"][0]["resource_data"]["rules"] = ["x" * 100] * 20_000
        with self.assertRaises(Invalid) as caught:
            await self.call(agent, "create_nsd_config", configurator="t1", request=large)
        self.assertEqual(caught.exception.code, "TooLarge")

    async def test_many_operations_at_once_all_arrive(self) -> None:
        agent = self.agent()
        calls = [self.call(agent, "create_nsd_config", configurator="t1", request=BODY) for _ in range(100)]
        for one in calls:
            await one
        self.assertEqual(len(self.configurator.taken), 100)

    async def test_the_configurator_of_another_tenant_is_refused(self) -> None:
        """Its socket leads to a configurator whose certificate is in order, but another tenant's."""
        settings = replace(self.settings, configurators=(ConfiguratorSettings("t2", str(self.socket), "t2"),))
        with self.assertRaises(Transient) as caught:
            await self.call(self.agent(settings), "create_nsd_config", configurator="t2", request=BODY)
        self.assertIn("configurator.t2", str(caught.exception))
        self.assertEqual(self.configurator.taken, [])

    async def test_an_agent_of_another_authority_is_refused(self) -> None:
        other = Authority.create(self.where / "other")
        settings = replace(self.settings, certificate=str(other.issue("agent.host1", server=False)))
        with self.assertRaises(Transient):
            await self.call(self.agent(settings), "create_nsd_config", configurator="t1", request=BODY)
        self.assertEqual(self.configurator.taken, [])

    async def test_a_notification_wakes_a_waiting_manager_and_goes_when_stored(self) -> None:
        agent = self.agent()
        await until(lambda: self.configurator.waiting)
        asked = self.call(agent, "get_notifications", wait=20)
        began = reactor.seconds()
        self.configurator.tell("nsd_config_notification")
        answer = (await asked)["t1"]
        self.assertLess(reactor.seconds() - began, 2)
        self.assertEqual([one["sequence"] for one in answer["notifications"]], [1])
        again = (await self.call(agent, "get_notifications", wait=0))["t1"]
        self.assertEqual(again, answer)
        self.assertEqual(list(self.configurator.outbox), [1])
        stored = {"t1": {"boot_id": answer["boot_id"], "sequence": answer["next"]}}
        await self.call(agent, "get_notifications", acknowledge=stored, wait=0)
        await until(lambda: not self.configurator.outbox)

    async def test_killing_the_proxy_in_the_middle_of_a_poll_loses_nothing(self) -> None:
        agent = self.agent()
        await until(lambda: self.configurator.waiting)
        asked = self.call(agent, "get_notifications", wait=30)
        self.proxy.kill()
        self.configurator.tell("nsd_config_notification")
        with self.assertRaises(Transient):
            await self.call(agent, "create_nsd_config", configurator="t1", request=BODY)
        self.assertFalse(asked.called)
        await self.start_proxy()
        answer = (await asked)["t1"]
        self.assertEqual([one["kind"] for one in answer["notifications"]], ["nsd_config_notification"])
        await self.call(agent, "create_nsd_config", configurator="t1", request=BODY)

    async def test_a_configurator_that_was_restarted_is_known_by_its_boot(self) -> None:
        agent = self.agent()
        await until(lambda: self.configurator.waiting)
        asked = self.call(
            agent, "get_notifications", acknowledge={"t1": {"boot_id": "boot-1", "sequence": 0}}, wait=30
        )
        number = self.configurator.number
        await self.configurator.stop()
        self.proxy.kill()
        self.configurator.boot_id = "boot-2"
        self.configurator.listen(number)
        await self.start_proxy()
        self.assertEqual((await asked)["t1"], {"boot_id": "boot-2", "notifications": [], "next": 0})
