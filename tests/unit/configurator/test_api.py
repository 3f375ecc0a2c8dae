"""Tests for the REST interface: a whole configurator in memory."""

from __future__ import annotations

from typing import Any

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.configurator.api import Api
from nfp.configurator.intake import Intake
from nfp.configurator.memory import Memory
from nfp.configurator.modules.firewall import FirewallModule
from nfp.configurator.modules.generic import GenericModule
from nfp.configurator.outbox import Outbox
from nfp.model.digest import digest
from nfp.model.errors import Permanent, Stale, Transient
from nfp.model.firewall import normalise
from nfp.model.requests import OPERATIONS, tree_of
from nfp.rest.errors import Forbidden
from tests.unit.configurator.fakes import (
    DEVICE,
    INTERFACE,
    MONITOR,
    NETWORKING,
    POINTS,
    InlineWorkers,
    Settings,
    policy,
    request,
)

ALLOW = {"protocol": "tcp", "destination_port": 80, "action": "allow"}


class ApiCase(SynchronousTestCase):
    limit = 5

    def setUp(self) -> None:
        self.clock = Clock()
        self.settings = Settings()
        self.driver = self.settings.driver
        self.outbox = Outbox(self.clock, "b1", self.limit)
        self.intake: Intake[InlineWorkers] = Intake(
            [GenericModule(self.settings, POINTS), FirewallModule(self.settings, POINTS)],
            lambda owner: InlineWorkers(self.clock, owner, self.settings),
            1,
            self.outbox,
            Memory(),
            self.limit,
        )
        self.workers = self.intake.workers
        self.api = Api(self.intake, self.outbox, self.who, max_body=100_000)
        self.treq = StubTreq(self.api.app.resource())

    def who(self, request: object) -> str:
        return "agent.h1"

    def send(self, operation: str, body: Any, **kwargs: Any) -> tuple[int, Any]:
        if "data" not in kwargs:
            kwargs["json"] = body
        response = self.successResultOf(self.treq.post(f"http://c/v1/nfp/{operation}", **kwargs))
        self.headers = response.headers
        return response.code, self.successResultOf(response.json())

    def get(self, query: str = "") -> Any:
        response = self.successResultOf(self.treq.get(f"http://c/v1/nfp/notifications{query}"))
        self.code = response.code
        return self.successResultOf(response.json())

    def accepted(self, operation: str, body: Any) -> None:
        code, answer = self.send(operation, body)
        self.assertEqual(code, 202, answer)

    def results(self) -> list[Any]:
        return [
            (item["kind"], item["notification"][0]["data"])
            for item in self.get()["notifications"]
            if item["kind"] != "nsd_health_status_notification"
        ]

    def verdicts(self) -> list[str]:
        return [
            item["notification"][0]["data"]["status"]
            for item in self.get()["notifications"]
            if item["kind"] == "nsd_health_status_notification"
        ]

    def refused(self, operation: str, body: Any, field: str, expected: str = "", code: int = 400) -> None:
        got, answer = self.send(operation, body)
        self.assertEqual((got, answer["error"]["field"]), (code, field), answer)
        self.assertIn(expected, answer["error"]["message"])
        self.assertEqual(self.workers.submitted, [])


class Accepting(ApiCase):
    def test_an_accepted_request_is_answered_before_it_is_done(self) -> None:
        self.workers.busy = True
        code, answer = self.send("create_nsd_config", request(*NETWORKING), headers={"X-Request-ID": "req-7"})
        self.assertEqual((code, answer), (202, {"request_id": "req-7", "boot_id": "b1"}))
        self.assertEqual(self.results(), [])
        [event] = self.workers.submitted
        self.assertEqual((event.key, event.context["request_id"]), ("device:d1", "req-7"))
        self.workers.work()
        self.assertEqual(len(self.results()), 1)

    def test_the_result_carries_what_was_read_back_and_the_context_verbatim(self) -> None:
        body = request(*NETWORKING, order=(3, 4))
        body["info"]["context"]["anything"] = {"else": [1, None]}
        self.accepted("create_nsd_config", body)
        [item] = self.get()["notifications"]
        self.assertEqual(item["info"], body["info"])
        self.assertEqual(
            item["notification"][0]["data"],
            {
                "order": [3, 4],
                "digest": digest(tree_of(body["config"])),
                "outcome": "applied",
                "reason": "",
                "transient": False,
            },
        )
        self.assertEqual(set(self.driver.trees["d1", ""]), {"interfaces", "routes"})

    def test_a_firewall_reaches_the_device_in_canonical_form(self) -> None:
        body = request(policy(ALLOW), service="s1")
        self.accepted("create_network_service_config", body)
        tree = self.driver.trees["d1", "s1"]
        self.assertEqual({"firewall": tree["firewall"]}, normalise({"firewall": {"rules": [ALLOW]}}))
        self.assertEqual(tree["provider"]["cidrs"], ["10.0.0.0/24"])
        [(kind, data)] = self.results()
        self.assertEqual((kind, data["digest"]), ("nsd_config_notification", digest(tree)))

    def test_deletes_are_applied_with_no_digest(self) -> None:
        self.accepted("create_network_service_config", request(policy(ALLOW), service="s1"))
        self.accepted("create_nsd_config", request(*NETWORKING))
        self.accepted("delete_network_service_config", request(("firewall", {}), service="s1"))
        self.accepted("delete_nsd_config", request(("interfaces", {})))
        self.assertEqual(self.driver.trees, {})
        self.assertEqual(
            [(data["outcome"], data["digest"]) for _, data in self.results()[2:]], [("applied", None)] * 2
        )

    def test_a_driver_s_errors_say_whether_another_try_is_worth_it(self) -> None:
        for error, transient in (
            (Transient("no route to host"), True),
            (Permanent("the vendor cannot"), False),
            (ValueError("a bug"), True),
        ):
            self.driver.trouble = error
            self.accepted("create_nsd_config", request(*NETWORKING))
            _, data = self.results()[-1]
            self.assertEqual(
                (data["outcome"], data["transient"], data["digest"]), ("refused", transient, None)
            )
            self.assertIn(str(error), data["reason"])
        self.flushLoggedErrors(ValueError)

    def test_I5_what_the_device_calls_stale_is_dropped(self) -> None:
        self.driver.trouble = Stale("order [1, 1] is below [2, 0]")
        self.accepted("create_nsd_config", request(*NETWORKING))
        self.assertEqual(self.results(), [])

    def test_what_the_device_cannot_do_is_refused_for_good(self) -> None:
        self.driver.cannot = [("service_config.firewall.rules[0].protocol", "no SCTP here")]
        self.accepted("create_network_service_config", request(policy(ALLOW), service="s1"))
        [(_, data)] = self.results()
        self.assertEqual((data["outcome"], data["transient"]), ("refused", False))
        self.assertIn("no SCTP here", data["reason"])

    def test_a_driver_that_cannot_be_used_is_a_refusal_that_says_why(self) -> None:
        for vendor, reason in (
            ("broken", "no licence file"),
            ("old", "DRIVER_API 99"),
            ("partial", "IDevice"),
        ):
            self.accepted("create_nsd_config", request(*NETWORKING, vendor=vendor))
            _, data = self.results()[-1]
            self.assertEqual((data["outcome"], data["transient"]), ("refused", False))
            self.assertIn(reason, data["reason"])
        self.flushLoggedErrors(RuntimeError)


class Refusing(ApiCase):
    def test_a_body_that_is_not_one_is_refused(self) -> None:
        self.refused("create_nsd_config", {"config": []}, "info", "required")
        self.refused("create_nsd_config", [], None, "object")  # type: ignore[arg-type]
        body = request(*NETWORKING)
        body["config"][1]["resource_data"]["nsd"]["port"] = "9444"
        self.refused("create_nsd_config", body, "config[1].resource_data.nsd.port")
        body = request(*NETWORKING)
        body["info"]["context"]["order"] = [1]
        self.refused("create_nsd_config", body, "info.context.order", "two integers")
        body = request(*NETWORKING)
        body["info"]["context"]["nsd_id"] = "d2"
        self.refused("create_nsd_config", body, "config", "info.context")

    def test_a_bad_rule_is_named(self) -> None:
        self.refused(
            "create_network_service_config",
            request(policy(ALLOW, {**ALLOW, "protocol": "tpc"}), service="s1"),
            "config[0].resource_data.firewall.rules[1].protocol",
            "tcp, udp",
        )

    def test_a_firewall_s_surroundings_are_checked(self) -> None:
        create = "create_network_service_config"
        self.refused(create, request(policy(ALLOW)), "info.context.network_service_id", "required")
        body = request(policy(ALLOW), service="s1")
        body["config"][0]["resource_data"]["consumer"]["cidrs"] = ["10.0.0.0/33"]
        self.refused(create, body, "config[0].resource_data.consumer.cidrs[0]", "CIDR")
        self.refused(create, request(*NETWORKING, service="s1"), "config[0].resource", "firewall")
        self.refused(create, request(policy(), policy(), service="s1"), "config", "one item")
        wrong = request(policy(), service="s1", service_type="VPN")
        self.refused(create, wrong, "info.service_type", "FIREWALL")

    def test_an_unknown_vendor_is_refused_by_every_operation(self) -> None:
        for operation in OPERATIONS:
            body = request(*NETWORKING, vendor="nobody", service="s")
            self.refused(operation, body, "info.service_vendor", "memory")

    def test_interfaces_routes_and_monitors_are_checked(self) -> None:
        create = "create_nsd_config"
        for change, field in (
            ({"mac": "fa:16"}, "mac"),
            ({"name": "eth1; reboot"}, "name"),
            ({"addresses": ["10.0.0.1/33"]}, "addresses[0]"),
            ({"role": "management"}, "role"),
        ):
            body = request(("interfaces", {"interfaces": [{**INTERFACE, **change}]}))
            self.refused(create, body, f"config[0].resource_data.interfaces[0].{field}")
        route = {"destination": "10.0.0.0/8", "nexthop": "router"}
        body = request(("routes", {"routes": [route]}))
        self.refused(create, body, "config[0].resource_data.routes[0].nexthop", "address")
        self.refused(create, request(("script", {})), "config[0].resource", "interfaces or routes")
        monitor = {**MONITOR[1]["monitor"], "fall": 0}
        body = request(("healthmonitor", {"monitor": monitor}))
        operation = "create_network_service_healthmonitor"
        self.refused(operation, body, "config[0].resource_data.monitor.fall", "1 to 100")

    def test_an_unknown_operation_is_not_found(self) -> None:
        self.assertEqual(self.send("create_everything", request(*NETWORKING))[0], 404)

    def test_large_and_foreign_bodies_are_refused(self) -> None:
        self.assertEqual(self.send("create_nsd_config", {"x": "y" * 100_000})[0], 413)
        for kwargs, expected in (
            ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
            ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ):
            self.assertEqual(self.send("create_nsd_config", None, **kwargs)[0], expected)

    def test_I5_an_order_below_the_highest_seen_is_stale(self) -> None:
        self.accepted("create_nsd_config", request(*NETWORKING, order=(2, 7)))
        self.accepted("create_nsd_config", request(*NETWORKING, order=(2, 7)))
        code, answer = self.send("delete_nsd_config", request(("interfaces", {}), order=(2, 6)))
        self.assertEqual((code, answer["error"]["code"]), (409, "Stale"))
        self.assertEqual(answer["error"]["field"], "info.context.order")
        self.assertEqual(len(self.workers.submitted), 2)

    def test_a_refused_request_raises_no_order(self) -> None:
        self.send("create_nsd_config", request(("script", {}), order=(9, 9)))
        self.accepted("create_nsd_config", request(*NETWORKING))

    def test_too_much_under_way_is_refused_until_results_are_fetched(self) -> None:
        self.workers.busy = True
        for number in range(self.limit):
            self.accepted("create_nsd_config", request(*NETWORKING, order=(1, number)))
        late = request(*NETWORKING, order=(1, 99))
        code, answer = self.send("create_nsd_config", late)
        self.assertEqual((code, answer["error"]["code"]), (503, "Unavailable"))
        self.assertTrue(self.headers.hasHeader("Retry-After"))
        self.workers.work()
        self.assertEqual(self.send("create_nsd_config", late)[0], 503)
        last = self.get()["next"]
        self.get(f"?boot=b1&after={last}")
        self.accepted("create_nsd_config", late)

    def test_nothing_is_accepted_while_stopping(self) -> None:
        self.intake.close()
        self.assertEqual(self.send("create_nsd_config", request(*NETWORKING))[0], 503)


class Notifications(ApiCase):
    def test_a_waiting_poll_gets_the_result_when_it_comes(self) -> None:
        waiting = self.treq.get("http://c/v1/nfp/notifications?boot=b1&after=0&wait=20")
        self.treq.flush()
        self.assertNoResult(waiting)
        self.accepted("create_nsd_config", request(*NETWORKING))
        self.treq.flush()
        answer = self.successResultOf(self.successResultOf(waiting).json())
        self.assertEqual([item["sequence"] for item in answer["notifications"]], [1])

    def test_a_waiting_poll_ends_by_itself(self) -> None:
        waiting = self.treq.get("http://c/v1/nfp/notifications?boot=b1&wait=1e9")
        self.clock.advance(60)
        self.treq.flush()
        answer = self.successResultOf(self.successResultOf(waiting).json())
        self.assertEqual(answer, {"boot_id": "b1", "notifications": [], "next": 0})

    def test_another_boot_is_answered_at_once(self) -> None:
        self.assertEqual(self.get("?boot=old&after=7&wait=20")["notifications"], [])

    def test_bad_arguments_are_named(self) -> None:
        for query, field in (
            ("after=-1", "after"),
            ("after=x", "after"),
            ("after=1.5", "after"),
            ("after=1&wait=nan", "wait"),
            ("wait=inf", "wait"),
            ("wait=-1", "wait"),
            ("boot=%ff", "boot"),
        ):
            answer = self.get(f"?{query}")
            self.assertEqual((self.code, answer["error"]["field"]), (400, field), query)

    def test_health_is_open_about_what_waits(self) -> None:
        self.accepted("create_nsd_config", request(*NETWORKING))
        response = self.successResultOf(self.treq.get("http://c/healthcheck"))
        answer = self.successResultOf(response.json())
        self.assertEqual((answer["boot_id"], answer["running"], answer["notifications"]), ("b1", 0, 1))


class Emitting(ApiCase):
    def test_what_no_notification_is_is_not_told(self) -> None:
        for name, payload in (("notification", {"kind": "gossip"}), ("notification", []), ("gossip", {})):
            self.intake.on_emit(0, name, payload)
        self.assertEqual(self.get()["notifications"], [])


class Strangers(ApiCase):
    def who(self, request: object) -> str:
        raise Forbidden("not you")

    def test_a_stranger_gets_nothing(self) -> None:
        self.assertEqual(self.send("create_nsd_config", request(*NETWORKING))[0], 403)
        self.get()
        self.assertEqual(self.code, 403)
        response = self.successResultOf(self.treq.get("http://c/healthcheck"))
        self.assertEqual(response.code, 403)
        self.assertEqual(self.workers.submitted, [])


class Monitoring(ApiCase):
    limit = 50
    create = "create_network_service_healthmonitor"
    delete = "delete_network_service_healthmonitor"

    def advance(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)

    def test_the_first_verdict_is_told_as_soon_as_there_is_one(self) -> None:
        body = request(MONITOR)
        self.accepted(self.create, body)
        [(kind, data)] = self.results()
        self.assertEqual(kind, "nsd_healthmonitor_config_notification")
        self.assertEqual((data["outcome"], data["digest"]), ("applied", digest(tree_of(body["config"]))))
        self.assertEqual(self.verdicts(), [])
        self.advance(1)
        self.assertEqual(self.verdicts(), ["UP"])
        status = self.get()["notifications"][-1]
        self.assertEqual(status["info"], body["info"])
        self.assertEqual(
            status["notification"][0]["data"],
            {
                "nsd_id": "d1",
                "status": "UP",
                "since": "1970-01-01T00:00:01.000+00:00",
                "level": "config",
                "reason": "",
            },
        )

    def test_only_changes_are_told_after_that(self) -> None:
        self.accepted(self.create, request(MONITOR))
        self.advance(10)
        self.assertEqual(self.verdicts(), ["UP"])
        self.driver.well = False
        self.advance(2)
        self.assertEqual(self.verdicts(), ["UP"])
        self.advance(1)
        self.assertEqual(self.verdicts(), ["UP", "DOWN"])
        self.advance(10)
        self.driver.well = True
        self.advance(2)
        self.assertEqual(self.verdicts(), ["UP", "DOWN", "UP"])
        reasons = [item["notification"][0]["data"]["reason"] for item in self.get()["notifications"][1:]]
        self.assertEqual(reasons, ["", "connection refused", ""])

    def test_a_device_that_flaps_faster_than_fall_stays_up(self) -> None:
        self.accepted(self.create, request(MONITOR))
        self.advance(3)
        for _ in range(5):
            self.driver.well = False
            self.advance(2)
            self.driver.well = True
            self.advance(1)
        self.assertEqual(self.verdicts(), ["UP"])

    def test_a_device_that_never_answers_is_down(self) -> None:
        self.driver.well = None
        self.accepted(self.create, request(MONITOR))
        self.advance(30)
        self.assertEqual(self.verdicts(), ["DOWN"])
        self.assertIn("within 2 s", self.get()["notifications"][-1]["notification"][0]["data"]["reason"])

    def test_a_late_probe_is_never_overlapped(self) -> None:
        self.driver.well = None
        self.accepted(self.create, request(MONITOR))
        self.clock.advance(1.5)
        self.assertEqual(len(self.driver.probes), 1)

    def test_a_monitor_that_is_told_again_tells_its_verdict_again(self) -> None:
        self.accepted(self.create, request(MONITOR))
        self.advance(2)
        again = request(MONITOR, order=(1, 9))
        self.accepted(self.create, again)
        self.advance(1)
        self.assertEqual(self.verdicts(), ["UP", "UP"])
        self.assertEqual(self.get()["notifications"][-1]["info"], again["info"])

    def test_a_monitor_with_another_pace_takes_the_place_of_the_first(self) -> None:
        self.accepted(self.create, request(MONITOR))
        self.advance(2)
        other = ("healthmonitor", {"monitor": {**MONITOR[1]["monitor"], "interval": 3, "rise": 1}})
        self.accepted(self.create, request(other))
        self.assertEqual(self.verdicts(), ["UP", "UP"])
        self.driver.well = False
        self.advance(5)
        self.assertEqual(self.verdicts(), ["UP", "UP"])
        self.advance(4)
        self.assertEqual(self.verdicts(), ["UP", "UP", "DOWN"])

    def test_a_removed_monitor_is_silent_even_about_a_probe_under_way(self) -> None:
        self.driver.well = None
        self.accepted(self.create, request(MONITOR))
        self.accepted(self.delete, request(("healthmonitor", {})))
        self.advance(30)
        self.assertEqual(self.verdicts(), [])
        self.assertEqual([data["outcome"] for _, data in self.results()], ["applied", "applied"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_removing_no_monitor_is_success(self) -> None:
        self.accepted(self.delete, request(("healthmonitor", {})))
        self.assertEqual([data["outcome"] for _, data in self.results()], ["applied"])

    def test_a_dead_worker_s_replacement_goes_on_watching(self) -> None:
        self.accepted(self.create, request(MONITOR))
        self.advance(2)
        self.workers.die()
        self.advance(2)
        self.driver.well = False
        self.advance(3)
        self.assertEqual(self.verdicts(), ["UP", "UP", "DOWN"])
        self.assertEqual(len(self.results()), 1)

    def test_a_removed_monitor_is_not_handed_over(self) -> None:
        self.accepted(self.create, request(MONITOR))
        self.accepted(self.delete, request(("healthmonitor", {})))
        self.workers.die()
        self.advance(5)
        self.assertEqual(self.verdicts(), [])

    def test_a_device_is_named_once_however_many_are_watched(self) -> None:
        for number in range(3):
            device = DEVICE.__class__(f"d{number}", DEVICE.address, 9444 + number, DEVICE.server_name)
            self.accepted(self.create, request(MONITOR, device=device))
        self.advance(3)
        told = [
            item["notification"][0]["data"]["nsd_id"]
            for item in self.get()["notifications"]
            if item["kind"] == "nsd_health_status_notification"
        ]
        self.assertEqual(sorted(told), ["d0", "d1", "d2"])
