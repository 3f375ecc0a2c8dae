"""The agent's RPC, without a broker."""

from __future__ import annotations

import copy
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.agent.collecting import Collector
from nfp.agent.configurators import Configurators
from nfp.agent.rpc import AgentRpc
from nfp.daemon.journal import request_id
from nfp.model.errors import Invalid, NoSuchConfigurator, Stale, Transient, Unavailable
from nfp.model.requests import OPERATIONS
from nfp.rpc.envelope import Request
from nfp.rpc.errors import NoSuchMethod
from tests.unit.agent.outbox import FakeConfigurator, agent_settings

BODY: dict[str, Any] = {
    "info": {
        "service_type": "firewall",
        "service_vendor": "nftables",
        "context": {"nsd_id": "nsd-1", "network_service_id": "ns-1", "order": [3, 7], "digest": "d"},
    },
    "config": [
        {
            "resource": "firewall",
            "resource_data": {
                "nsd": {"nsd_id": "nsd-1", "address": "fd00::5", "port": 9444, "server_name": "device.h"}
            },
        }
    ],
}


class DispatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.fake = FakeConfigurator(self.clock)
        configurators = Configurators(self.clock, agent_settings("a"), connect=lambda one, size: self.fake)
        self.collector = Collector(self.clock, configurators)
        self.rpc = AgentRpc(configurators, self.collector)

    def call(self, method: str, **args: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.rpc.dispatch(Request(method, args)))

    def test_each_operation_is_one_post_whose_answer_comes_back(self) -> None:
        for operation in OPERATIONS:
            self.assertEqual(
                self.successResultOf(self.call(operation, configurator="a", request=BODY)),
                {"request_id": "req-1", "boot_id": "boot-1"},
            )
        self.assertEqual(
            self.fake.served, [("POST", f"/v1/nfp/{operation}", BODY) for operation in OPERATIONS]
        )

    def test_what_the_configurator_refuses_comes_back_as_it_is(self) -> None:
        for error in (Invalid("no", field="config[0]"), Stale("old"), Unavailable("full"), Transient("gone")):
            self.fake.refuses = error
            failed = self.failureResultOf(self.call(OPERATIONS[0], configurator="a", request=BODY))
            self.assertIs(failed.value, error)

    def test_a_configurator_that_is_not_known(self) -> None:
        self.failureResultOf(self.call(OPERATIONS[0], configurator="b", request=BODY), NoSuchConfigurator)

    def test_a_bad_body_is_refused_here_and_its_field_named(self) -> None:
        body = copy.deepcopy(BODY)
        body["info"]["context"]["order"] = [1]
        failed = self.failureResultOf(self.call(OPERATIONS[0], configurator="a", request=body), Invalid)
        self.assertEqual(failed.value.field, "request.info.context.order")
        self.assertEqual(self.fake.served, [])

    def test_missing_and_surplus_arguments_are_refused(self) -> None:
        failed = self.failureResultOf(self.call(OPERATIONS[0], request=BODY), Invalid)
        self.assertEqual(failed.value.field, "configurator")
        self.failureResultOf(self.call(OPERATIONS[0], configurator="a", request=BODY, more=1), Invalid)

    def test_bad_arguments_of_get_notifications_are_refused(self) -> None:
        for args, field in (
            ({"wait": -1}, "wait"),
            ({"wait": 61}, "wait"),
            ({"wait": "5"}, "wait"),
            ({"acknowledge": {"a": {"boot_id": "b"}}}, "acknowledge.a.sequence"),
            ({"acknowledge": {"a": {"boot_id": "b", "sequence": -1}}}, "acknowledge.a.sequence"),
        ):
            failed = self.failureResultOf(self.call("get_notifications", **args), Invalid)
            self.assertEqual(failed.value.field, field)

    def test_get_notifications_asks_for_nothing(self) -> None:
        answer = self.successResultOf(self.call("get_notifications"))
        self.assertEqual(answer["a"]["error"]["message"], "not reached yet")

    def test_a_method_that_is_none_of_ours(self) -> None:
        self.failureResultOf(self.call("stopService"), NoSuchMethod)

    def test_an_answer_without_a_boot_is_an_error(self) -> None:
        self.fake.boot_id = None  # type: ignore[assignment] # what a broken server might send
        failed = self.failureResultOf(self.call(OPERATIONS[0], configurator="a", request=BODY))
        self.assertIn("cannot be read", str(failed.value))

    def test_the_callers_request_id_is_known_on_the_way(self) -> None:
        seen: list[object] = []
        asked = self.fake.request

        async def request(*args: Any, **kwargs: Any) -> Any:
            seen.append(request_id.get())
            return await asked(*args, **kwargs)

        self.fake.request = request  # type: ignore[method-assign] # to look over its shoulder
        told = Request(OPERATIONS[0], {"configurator": "a", "request": BODY}, context={"request_id": "req-9"})
        self.successResultOf(Deferred.fromCoroutine(self.rpc.dispatch(told)))
        self.assertEqual(seen, ["req-9"])
