"""Services and devices converged in a world where anything may fail, be late, or come twice."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Permanent, Transient
from tests.unit.manager.requests import firewall, network_service
from tests.unit.manager.world import BAD_PORT, World

NODES = ("node-0", "node-1", "node-2")
"""The first two are of one chain and share a device."""


def wanted(node: str, port: int) -> dict[str, Any]:
    """A firewall for a chain node; ports of different chains differ."""
    chain = "chain-b" if node == NODES[2] else "chain-a"
    service = network_service(port, service_id=node, service_chain_id=chain)
    for side in ("provider", "consumer"):
        given_port = service[side]["port"][0]
        service[side] = {**service[side], "port": [{**given_port, "id": f"{side}-{chain}"}]}
    return service


def opens(tree: Any) -> int:
    """The port that a firewall on a device lets through."""
    return int(tree["firewall"]["rules"][0]["destination_port"])


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.close)

    def active(self, port: int = 80, node: str = NODES[0]) -> str:
        """A service that works."""
        service_id = self.world.create(wanted(node, port))
        self.world.settle()
        self.assertEqual("ACTIVE", self.status(service_id))
        return service_id

    def status(self, service_id: str) -> str:
        return str(self.world.service(service_id)["status"])

    def run_all(self) -> None:
        """Run keys until none is awake; nothing arrives from outside."""
        while self.world.woken:
            self.world.run(self.world.woken[0])

    def device_id(self) -> str:
        [row] = self.world.devices()
        return str(row["id"])

    def assert_nothing_left(self) -> None:
        world = self.world
        self.assertEqual(([], [], []), (world.services(), world.devices(), world.instances()))
        self.assertEqual({}, world.driver.devices)


class LifeTests(Case):
    def test_a_service_lives_and_leaves_nothing(self) -> None:
        service_id = self.active()
        self.assertEqual(80, opens(self.world.on_device(service_id)))
        self.world.update(service_id, service_config=firewall(443))
        self.world.settle()
        self.assertEqual(("ACTIVE", 443), (self.status(service_id), opens(self.world.on_device(service_id))))
        self.world.delete(service_id)
        self.world.settle()
        self.assert_nothing_left()
        self.assertEqual(("DELETED", ""), self.world.reported[service_id])
        self.assertEqual(set(), self.world.configurator.monitored)

    def test_two_services_of_a_chain_share_a_device_and_leave_it_one_by_one(self) -> None:
        first, second = self.active(80, NODES[0]), self.active(443, NODES[1])
        self.assertEqual(1, len(self.world.devices()))
        self.world.delete(first)
        self.world.settle()
        self.assertIsNone(self.world.on_device(first))
        self.assertEqual(("ACTIVE", 443), (self.status(second), opens(self.world.on_device(second))))
        self.world.delete(second)
        self.world.settle()
        self.assert_nothing_left()

    def test_the_first_service_stays_active_while_a_second_moves_in(self) -> None:
        first = self.active(80, NODES[0])
        self.world.reports.clear()
        self.active(443, NODES[1])
        self.assertEqual([], [report for report in self.world.reports if report[0] == first])

    def test_a_failed_create_leaves_nothing_and_an_update_makes_it_work(self) -> None:
        service_id = self.world.create(wanted(NODES[0], BAD_PORT))
        self.world.settle()
        self.assertEqual("ERROR", self.status(service_id))
        self.assertEqual(([], {}), (self.world.devices(), self.world.driver.devices))
        self.world.update(service_id, service_config=firewall(80))
        self.world.settle()
        self.assertEqual(("ACTIVE", 80), (self.status(service_id), opens(self.world.on_device(service_id))))

    def test_a_failed_update_leaves_the_last_good_configuration(self) -> None:
        service_id = self.active()
        self.world.update(service_id, service_config=firewall(BAD_PORT))
        self.world.settle()
        self.assertEqual(("ERROR", 80), (self.status(service_id), opens(self.world.on_device(service_id))))
        self.world.update(service_id, service_config=firewall(80))
        self.world.settle()
        self.assertEqual("ACTIVE", self.status(service_id))

    def test_an_instance_shows_what_its_service_is(self) -> None:
        self.active()
        self.assertEqual(["ACTIVE"], [row["status"] for row in self.world.instances()])


class EffectTests(Case):
    """I1, I9: what may be there is known, and removed."""

    def test_I1_a_create_that_failed_half_way_leaves_nothing_when_it_is_deleted(self) -> None:
        self.world.driver.failing["create_nsd"] = [Transient("slow")] * 9
        service_id = self.world.create(wanted(NODES[0], 80))
        self.run_all()
        self.assertEqual(1, len(self.world.driver.devices))
        self.world.delete(service_id)
        self.world.settle()
        self.assert_nothing_left()

    def test_I1_a_service_whose_request_got_lost_on_its_way_back_is_taken_off(self) -> None:
        stays, goes = self.active(80, NODES[0]), self.active(443, NODES[1])
        self.world.configurator.losing = [(Transient("timed out"), True)]
        self.world.update(goes, service_config=firewall(22))
        self.run_all()
        self.world.delete(goes)
        self.world.settle()
        self.assertIsNone(self.world.on_device(goes))
        self.assertEqual(80, opens(self.world.on_device(stays)))

    def test_a_permanent_failure_on_the_way_out_is_tried_again_with_backoff(self) -> None:
        service_id = self.active()
        self.world.driver.failing["delete_nsd"] = [Permanent("never")] * 3
        self.world.delete(service_id)
        calls = self.world.driver.calls
        self.run_all()
        while self.world.configurator.work() or self.world.deliver():
            self.run_all()
        self.assertEqual(1, calls.count("delete_nsd"))
        self.world.tick(60.0)
        self.run_all()
        self.assertEqual(2, calls.count("delete_nsd"))

    def test_a_dead_device_whose_monitor_is_unknown_goes_all_the_same(self) -> None:
        service_id = self.active()
        self.world.configurator.restart()
        self.world.report()
        self.world.configurator.unwilling = 1000
        self.world.delete(service_id)
        self.world.settle()
        self.assert_nothing_left()


class ToldTests(Case):
    """I8: what was told is in place only when it was read back after nothing else was told."""

    def test_I8_back_to_an_earlier_configuration_is_not_in_place_before_it_is_read_back(self) -> None:
        service_id = self.active(80)
        self.world.update(service_id, service_config=firewall(443))
        self.run_all()
        self.world.update(service_id, service_config=firewall(80))
        self.run_all()
        self.assertEqual("PENDING_UPDATE", self.status(service_id))
        self.world.settle()
        self.assertEqual(("ACTIVE", 80), (self.status(service_id), opens(self.world.on_device(service_id))))

    def test_I8_an_old_result_that_comes_twice_does_not_settle_a_newer_request(self) -> None:
        service_id = self.world.create(wanted(NODES[0], 80))
        stored: list[Any] = []
        while self.world.woken or self.world.configurator.work() or self.world.configurator.outbox:
            stored += self.world.configurator.outbox
            self.world.deliver()
            self.run_all()
        self.assertEqual("ACTIVE", self.status(service_id))
        self.world.update(service_id, service_config=firewall(443))
        self.run_all()
        self.world.update(service_id, service_config=firewall(80))
        self.run_all()
        self.world.configurator.outbox = stored
        while self.world.deliver():
            self.run_all()
        self.assertEqual("PENDING_UPDATE", self.status(service_id))

    def test_a_configurator_that_is_born_again_is_told_all_while_the_service_stays_active(self) -> None:
        service_id = self.active()
        self.world.reports.clear()
        told = len(self.world.configurator.told)
        self.world.configurator.restart()
        self.world.settle()
        self.assertEqual(told + 3, len(self.world.configurator.told))
        self.assertEqual(([], "ACTIVE"), (self.world.reports, self.status(service_id)))

    def test_I3_an_answer_from_a_new_life_of_the_configurator_is_news_for_every_device(self) -> None:
        self.active(80, NODES[0])
        second = self.active(443, NODES[2])
        self.world.configurator.restart()
        self.world.configurator.told.clear()
        self.world.update(second, service_config=firewall(22))
        self.run_all()
        self.assertEqual(2, len({context["nsd_id"] for _, context in self.world.configurator.told}))

    def test_two_agents_that_disagree_for_a_moment_end_in_one_opinion(self) -> None:
        service_id = self.active()
        old = self.world.configurator.boot
        self.world.configurator.restart()
        self.world.report("one")
        self.world.report("two", boot=old)
        self.run_all()
        self.world.report("two")
        self.world.settle()
        self.assertEqual("ACTIVE", self.status(service_id))
        self.assertIn(self.device_id(), self.world.configurator.monitored)

    def test_tries_that_fail_are_further_and_further_apart(self) -> None:
        self.world.configurator.losing = [(Transient("no agent"), False)] * 100
        self.world.create(wanted(NODES[0], 80))
        self.run_all()
        for _ in range(60):
            self.world.tick(1.0)
            self.run_all()
        self.assertLess(100 - len(self.world.configurator.losing), 10)

    def test_a_monitor_that_is_refused_is_not_told_again_at_once(self) -> None:
        service_id = self.world.create(wanted(NODES[0], 80))
        self.run_all()
        told = len(self.world.configurator.told)
        self.assertTrue(self.world.configurator.work())
        [refused] = [item for item in self.world.configurator.outbox if "monitor_config" in item["kind"]]
        refused["notification"][0]["data"].update(outcome="refused", digest=None, transient=True)
        monitors = [m for m, _ in self.world.configurator.told].count("create_network_service_healthmonitor")
        self.world.deliver()
        self.run_all()
        again = [m for m, _ in self.world.configurator.told[told:]]
        self.assertEqual((1, 0), (monitors, again.count("create_network_service_healthmonitor")))
        self.world.settle()
        self.assertEqual("ACTIVE", self.status(service_id))


class LossTests(Case):
    def test_a_device_that_vanished_is_made_again_after_two_looks(self) -> None:
        service_id = self.active()
        self.world.driver.devices.clear()
        self.world.configurator.health(self.device_id(), "DOWN")
        while self.world.deliver():
            self.run_all()
        self.assertEqual("DOWN", self.status(service_id))
        self.assertEqual(1, self.world.driver.calls.count("create_nsd"))
        self.world.settle()
        self.assertEqual(2, self.world.driver.calls.count("create_nsd"))
        self.assertEqual(("ACTIVE", 80), (self.status(service_id), opens(self.world.on_device(service_id))))

    def test_I8_a_service_is_not_active_while_its_device_is_made_again(self) -> None:
        service_id = self.active()
        self.world.driver.devices.clear()
        for _ in range(3):
            self.world.tick(301.0)
            self.world.sweep()
            self.run_all()
        self.assertEqual("PENDING_UPDATE", self.status(service_id))

    def test_a_device_that_is_down_stays_down_through_every_look(self) -> None:
        service_id = self.active()
        self.world.configurator.health(self.device_id(), "DOWN")
        self.world.settle()
        self.assertEqual("DOWN", self.status(service_id))
        self.world.reports.clear()
        self.world.tick(301.0)
        self.world.sweep()
        self.world.settle()
        self.assertEqual([], self.world.reports)

    def test_a_device_that_vanished_is_found_out_while_a_service_leaves_it(self) -> None:
        stays, goes = self.active(80, NODES[0]), self.active(443, NODES[1])
        self.world.driver.devices.clear()
        self.world.delete(goes)
        self.world.settle()
        self.assertEqual(("ACTIVE", 80), (self.status(stays), opens(self.world.on_device(stays))))


class RaceTests(Case):
    def test_a_failure_of_what_is_not_wanted_any_more_is_no_failure(self) -> None:
        service_id = self.world.create(wanted(NODES[0], 80))
        sharing = self.world.driver.get_nsd_sharing_info

        async def overtaken(spec: Any) -> Any:
            self.world.driver.get_nsd_sharing_info = sharing  # type: ignore[method-assign]
            self.world.update(service_id, service_config=firewall(443))
            raise Permanent("not this one")

        self.world.driver.get_nsd_sharing_info = overtaken  # type: ignore[method-assign]
        self.world.settle()
        self.assertEqual(("ACTIVE", 443), (self.status(service_id), opens(self.world.on_device(service_id))))

    def test_a_full_device_is_not_shared_and_its_key_is_no_obstacle(self) -> None:
        self.active(80, NODES[0])
        self.world.driver.shareable = 1
        second = self.active(443, NODES[1])
        self.assertEqual(2, len(self.world.devices()))
        self.assertEqual(443, opens(self.world.on_device(second)))

    def test_a_create_during_the_delete_waits_for_the_ports(self) -> None:
        first = self.active(80, NODES[0])
        self.world.delete(first)
        second = self.world.create(wanted(NODES[0], 443))
        self.world.run(f"service:{second}")
        self.assertIn(first, str(self.world.service(second)["waiting_for"]))
        self.world.settle()
        self.assertEqual(("ACTIVE", 443), (self.status(second), opens(self.world.on_device(second))))

    def test_a_port_that_changed_is_plugged_anew(self) -> None:
        service_id = self.active()
        provider = wanted(NODES[0], 80)["provider"]
        provider["port"][0]["fixed_ips"][0]["ip_address"] = "10.0.0.9"
        self.world.update(service_id, provider=provider)
        self.world.settle()
        [device] = self.world.driver.devices.values()
        addresses = {port.classification: port.addresses for port in device.ports.values()}
        self.assertEqual(("10.0.0.9/24",), addresses["provider"])
        self.assertIn("10.0.0.9/24", str(device.config))

    def test_an_update_lets_a_failed_device_try_again(self) -> None:
        service_id = self.active()
        self.world.driver.failing["plug_nsd_interface"] = [Permanent("no slot")]
        provider = wanted(NODES[0], 80)["provider"]
        provider["port"][0]["fixed_ips"][0]["ip_address"] = "10.0.0.9"
        self.world.update(service_id, provider=provider)
        self.world.run(f"service:{service_id}")
        self.run_all()
        self.assertEqual("ERROR", self.status(service_id))
        provider["port"][0]["fixed_ips"][0]["ip_address"] = "10.0.0.10"
        self.world.update(service_id, provider=provider)
        self.world.settle()
        self.assertEqual("ACTIVE", self.status(service_id))


class CrashTests(SynchronousTestCase):
    """A worker killed at each point of a piece of work, and an update that comes in before each."""

    POINTS = range(0, 150, 3)
    """Every third, for the sake of time: most steps pass several points between which nothing differs."""

    def at_each_point(self, act: Any, check: Any, *, settled: bool = True) -> None:
        """Kill the worker at each point of what *act* makes it do; afterwards all has to end well."""
        for point in self.POINTS:
            world = World()
            try:
                service_ids = [world.create(wanted(node, 80)) for node in NODES[:2]]
                if settled:
                    world.settle()
                act(world, service_ids)
                world.strikes = point
                while world.go_on():
                    pass
                killed = world.strikes is None
                world.settle()
                world.look_again()
                check(world, service_ids)
            finally:
                world.close()
            if not killed:
                return
        self.fail("more points than are tried")

    def test_killed_while_creating(self) -> None:
        self.at_each_point(lambda world, ids: None, self._working(80, 80), settled=False)

    def test_killed_while_updating(self) -> None:
        def act(world: World, ids: list[str]) -> None:
            world.update(ids[0], service_config=firewall(443))

        self.at_each_point(act, self._working(443, 80))

    def test_killed_while_deleting_one_of_two(self) -> None:
        def check(world: World, ids: list[str]) -> None:
            self.assertIsNone(world.on_device(ids[0]))
            self.assertEqual(["ACTIVE"], [row["status"] for row in world.services()])

        self.at_each_point(lambda world, ids: world.delete(ids[0]), check)

    def test_killed_while_deleting_all(self) -> None:
        def act(world: World, ids: list[str]) -> None:
            for service_id in ids:
                world.delete(service_id)

        def check(world: World, ids: list[str]) -> None:
            self.assertEqual(([], [], {}), (world.services(), world.devices(), world.driver.devices))
            self.assertEqual(set(), world.configurator.monitored)

        self.at_each_point(act, check)

    def test_killed_while_telling_a_configurator_that_was_born_again(self) -> None:
        def act(world: World, ids: list[str]) -> None:
            world.configurator.restart()
            world.configurator.told.clear()
            world.report()

        def check(world: World, ids: list[str]) -> None:
            self.assertEqual(4, len({(m, c["network_service_id"]) for m, c in world.configurator.told}))

        self.at_each_point(act, check)

    def test_killed_while_a_device_is_made_again(self) -> None:
        def act(world: World, ids: list[str]) -> None:
            world.configurator.health(next(iter(world.driver.devices)), "DOWN")
            world.driver.devices.clear()

        self.at_each_point(act, self._working(80, 80))

    def test_I8_an_update_is_never_answered_by_the_success_of_what_was_before(self) -> None:
        for point in range(60):
            world = World()
            try:
                service_id = world.create(wanted(NODES[0], 80))
                passed = self._update_before(world, point, service_id)
                while world.go_on():
                    pass
                world.settle()
                self.assertEqual(443 if passed() else 80, opens(world.on_device(service_id)))
            finally:
                world.close()
            if not passed():
                return
        self.fail("more points than are tried")

    def _update_before(self, world: World, point: int, service_id: str) -> Any:
        """Have an update come before a transaction; from then on ACTIVE means that it is in place."""
        left = [point]

        def before() -> None:
            left[0] -= 1
            if left[0] == -1:
                world.update(service_id, service_config=firewall(443))

        def after() -> None:
            tree = world.on_device(service_id)
            if left[0] < 0 and world.service(service_id)["status"] == "ACTIVE":
                self.assertEqual(443, tree and opens(tree), f"before transaction {point}")

        world.before, world.after = before, after
        return lambda: left[0] < 0

    def _working(self, *ports: int) -> Any:
        def check(world: World, ids: list[str]) -> None:
            for service_id, port in zip(ids, ports, strict=True):
                self.assertEqual("ACTIVE", world.service(service_id)["status"])
                self.assertEqual(port, opens(world.on_device(service_id)))
            self.assertEqual({row["id"] for row in world.devices()}, set(world.driver.devices))

        return check


ACTIONS = st.one_of(
    st.tuples(st.just("want"), st.sampled_from(NODES), st.sampled_from((80, 443, 22, BAD_PORT))),
    st.tuples(st.just("delete"), st.sampled_from(NODES)),
    st.tuples(st.just("run"), st.integers(0, 5)),
    st.tuples(st.just("go on"), st.sampled_from((3, 10, 40))),
    st.tuples(st.just("work")),
    st.tuples(st.just("deliver"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("lose call"), st.booleans()),
    st.tuples(st.just("unwilling")),
    st.tuples(st.just("driver fails"), st.sampled_from(("create_nsd", "delete_nsd", "unplug_nsd_interface"))),
    st.tuples(st.just("restart configurator"), st.booleans()),
    st.tuples(st.just("vanish")),
    st.tuples(st.just("kill"), st.integers(0, 12)),
    st.tuples(st.just("tick"), st.sampled_from((0.6, 5.0, 31.0, 301.0))),
)


class AnythingTests(SynchronousTestCase):
    """Whatever happens, in the end a device has what was wanted last, or nothing is left."""

    @settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(st.booleans(), st.lists(ACTIONS, max_size=40))
    def test_any_sequence_ends_in_what_was_wanted_last(
        self, begun: bool, actions: list[tuple[Any, ...]]
    ) -> None:
        world = World()
        try:
            live: dict[str, tuple[str, int]] = {}
            if begun:
                live.update({node: (world.create(wanted(node, 80)), 80) for node in NODES})
                world.settle()
            for name, *args in actions:
                _act(world, live, name, args)
            world.settle()
            world.look_again()
            self._check(world, live)
        finally:
            world.close()

    def _check(self, world: World, live: dict[str, tuple[str, int]]) -> None:
        self.assertEqual({service_id for service_id, _ in live.values()}, {r["id"] for r in world.services()})
        self.assertEqual({row["id"] for row in world.devices()}, set(world.driver.devices))
        self.assertEqual(set(world.driver.devices), world.configurator.monitored)
        for service_id, port in live.values():
            row, tree = world.service(service_id), world.on_device(service_id)
            self.assertEqual(
                (row["status"], row["status_description"] or ""), world.reported[service_id], "told as it is"
            )
            if port == BAD_PORT:
                self.assertEqual("ERROR", row["status"])
                self.assertTrue(tree is None or opens(tree) != BAD_PORT)
            else:
                self.assertEqual(("ACTIVE", port), (row["status"], opens(tree)))
        bound = {row["network_service_id"] for row in world.instances()}
        carried = {name for device in world.driver.devices.values() for name in device.services}
        self.assertLessEqual(carried, bound)
        for row in world.devices():
            self.assertEqual(
                set(world.driver.devices[row["id"]].ports), set(row["observed"].get("interfaces", {}))
            )


def _act(world: World, live: dict[str, tuple[str, int]], name: str, args: list[Any]) -> None:
    match name, *args:
        case "want", node, port if node in live:
            world.update(live[node][0], service_config=firewall(port))
            live[node] = (live[node][0], port)
        case "want", node, port:
            live[node] = (world.create(wanted(node, port)), port)
        case "delete", node if node in live:
            world.delete(live.pop(node)[0])
        case "run", index if world.woken:
            world.run(world.woken[index % len(world.woken)])
        case "go on", steps:
            for _ in range(steps):
                world.go_on()
        case "work", *_:
            world.configurator.work()
        case "deliver", index, again:
            world.deliver(index, again=again)
        case "lose call", taken:
            world.configurator.losing.append((Transient("timed out"), taken))
        case "unwilling", *_:
            world.configurator.unwilling += 1
        case "driver fails", method:
            world.driver.failing.setdefault(method, []).append(Transient("slow"))
        case "restart configurator", known:
            world.configurator.restart()
            if known:
                world.report()
        case "vanish", *_ if world.driver.devices:
            world.driver.devices.pop(next(iter(world.driver.devices)))
        case "kill", strikes:
            world.strikes = strikes
        case "tick", seconds:
            world.tick(seconds)
