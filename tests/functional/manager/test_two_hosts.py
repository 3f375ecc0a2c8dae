"""Two manager hosts on one PostgreSQL: what races there, and in which order rows are locked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.store import accept, bindings, rows
from nfp.manager.store.engine import make_engine
from nfp.manager.store.tables import Base, NetworkService, NetworkServiceDevice
from tests.functional import postgres
from tests.unit.manager.requests import firewall, message, network_service
from tests.unit.manager.world import World

DEADLINE = 60.0
ROUNDS = 15


class RealClock(Clock):
    """The time of day; only the waits between tries of a transaction pass at once, and are counted.

    :ivar tries: how many transactions were run again, which here is because of a deadlock.
    """

    tries = 0

    def seconds(self) -> float:
        return time.time()

    def advance(self, amount: float) -> None:
        calls, self.calls = self.calls, []
        self.tries += len(calls)
        for call in calls:
            call.called = 1
            call.func(*call.args, **call.kw)


def node(number: int, port: int = 80, **changes: Any) -> dict[str, Any]:
    """A firewall; two and two are of one chain and share the ports of a device."""
    chain = f"chain-{number // 2}"
    service = network_service(port, service_id=f"node-{number}", service_chain_id=chain, **changes)
    for side in ("provider", "consumer"):
        service[side] = {**service[side], "port": [{**service[side]["port"][0], "id": f"{side}-{chain}"}]}
    return service


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = make_engine(postgres.database(self))
        self.addCleanup(self.engine.dispose)
        Base.metadata.create_all(self.engine)

    def both(self, *functions: Callable[[], Any]) -> list[Any]:
        """Run functions at the same time; gives their results."""
        barrier = threading.Barrier(len(functions), timeout=DEADLINE)
        results: list[Any] = [None] * len(functions)

        def run(index: int) -> None:
            barrier.wait()
            try:
                results[index] = functions[index]()
            except BaseException as error:  # noqa: BLE001 -- raised again below, in the test's own thread
                results[index] = error

        threads = [threading.Thread(target=run, args=(index,)) for index in range(len(functions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    def accepting(self, function: Any, *args: Any) -> Callable[[], Any]:
        """A request as a worker takes it: once more, if another host was quicker."""

        def once() -> Any:
            with self.engine.begin() as connection:
                return function(connection, *args)

        def run() -> Any:
            try:
                return once()
            except sa.exc.IntegrityError:
                return once()

        return run

    def rows(self) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(NetworkService.__table__)).mappings()]


class AcceptTests(Case):
    def test_the_same_chain_node_from_two_hosts_is_one_service(self) -> None:
        for number in range(ROUNDS):
            one, other = (
                self.accepting(accept.create, node(number), message(2 * number + which)) for which in (0, 1)
            )
            first, second = self.both(one, other)
            self.assertEqual(first.service_id, second.service_id)
        self.assertEqual(ROUNDS, len(self.rows()))

    def test_the_same_message_to_two_hosts_is_one_service(self) -> None:
        for number in range(ROUNDS):
            again = self.accepting(accept.create, node(number), message(number))
            first, second = self.both(again, again)
            self.assertEqual(first.service_id, second.service_id)
        self.assertEqual(ROUNDS, len(self.rows()))

    def test_I7_an_update_beside_its_create_is_not_lost(self) -> None:
        for number in range(ROUNDS):
            service_id = f"11111111-1111-4111-8111-{number:012}"
            changes = {"service_config": firewall(443)}
            self.both(
                self.accepting(accept.create, node(number, id=service_id), message(2 * number)),
                self.accepting(accept.update, service_id, changes, message(2 * number + 1, is_call=False)),
            )
        self.assertEqual([True] * ROUNDS, ["443" in row["service_config"] for row in self.rows()])

    def test_I7_a_delete_beside_its_create_wins(self) -> None:
        for number in range(ROUNDS):
            service_id = f"11111111-1111-4111-8111-{number:012}"
            self.both(
                self.accepting(accept.create, node(number, id=service_id), message(2 * number)),
                self.accepting(accept.delete, service_id, message(2 * number + 1)),
            )
        self.assertEqual([], [row["id"] for row in self.rows() if not row["wanted_absent"]])

    def test_two_deletes_of_an_unknown_service_both_succeed(self) -> None:
        for number in range(ROUNDS):
            service_id = f"11111111-1111-4111-8111-{number:012}"
            self.both(
                *(self.accepting(accept.delete, service_id, message(2 * number + which)) for which in (0, 1))
            )


class ConvergeTests(Case):
    """Two hosts with all keys in both: leases decide who works on what."""

    def setUp(self) -> None:
        super().setUp()
        self.clocks = [RealClock(), RealClock()]
        first = World("one", self.engine, self.clocks[0])
        self.hosts = [first, World("two", self.engine, self.clocks[1], beside=first)]
        self.outside = threading.Lock()

    def work(self, world: World, done: Callable[[World], bool]) -> None:
        """Be one host until *done*."""
        end = time.monotonic() + DEADLINE
        idle = threading.Event()  # never set: a way to let the other go on
        while not done(world):
            self.assertLess(time.monotonic(), end, f"{world.services()} {world.devices()}")
            if world.woken:
                world.run(world.woken[0])
                continue
            with self.outside:
                busy = world.configurator.work() or world.deliver()
            if not busy:
                world.sweep()
                idle.wait(0.01)

    def until(self, done: Callable[[World], bool]) -> None:
        self.both(*(lambda world=world: self.work(world, done) for world in self.hosts))

    def test_services_of_two_hosts_live_and_leave_nothing_without_a_deadlock(self) -> None:
        one, two = self.hosts
        count = 6
        ids = self.both(
            lambda: [one.create(node(number)) for number in range(0, count, 2)],
            lambda: [two.create(node(number)) for number in range(1, count, 2)],
        )
        every = [*ids[0], *ids[1]]
        self.until(lambda world: _all_active(world, count, "80"))
        self.assertEqual(count // 2, len(one.devices()), "one device for each chain")
        self.until(_updated(every, 443))
        for service_id in every:
            self.assertIn("443", str(one.on_device(service_id)))
        for world, service_ids in zip(self.hosts, ids, strict=True):
            for service_id in service_ids:
                world.delete(service_id)
        self.until(lambda world: not world.services() and not world.devices())
        self.assertEqual({}, one.driver.devices)
        self.assertEqual([0, 0], [clock.tries for clock in self.clocks])

    def test_a_service_waits_for_its_device_before_it_locks_itself(self) -> None:
        """Else it and the device's news would each wait for what the other has."""
        one = self.hosts[0]
        service_id = one.create(node(0))
        self.until(lambda world: _all_active(world, 1, "80"))
        one.update(service_id, service_config=firewall(443))
        [device] = one.devices()

        def news() -> None:
            with self.engine.begin() as connection:
                rows.get(connection, NetworkServiceDevice.__table__, device["id"], lock=True)
                self.wait_for_a_waiting_lock()
                bindings.bump_services(connection, [service_id])

        self.both(news, lambda: one.run(f"service:{service_id}"))
        self.assertEqual(0, self.clocks[0].tries)

    def wait_for_a_waiting_lock(self) -> None:
        end, idle = time.monotonic() + DEADLINE, threading.Event()
        query = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        with self.engine.connect() as connection:
            while not connection.execute(query).scalar_one():
                self.assertLess(time.monotonic(), end, "nobody waits for the device")
                idle.wait(0.01)


def _all_active(world: World, count: int, port: str) -> bool:
    found = world.services()
    active = [row for row in found if row["status"] == "ACTIVE" and port in row["service_config"]]
    return len(active) == count and world.quiet()


def _updated(service_ids: list[str], last: int) -> Callable[[World], bool]:
    """Ends when both hosts have sent their updates, among the results of others, and the last is in place."""
    ports = [22, 8080, 22, last]
    left = {"one": list(ports), "two": list(ports)}

    def done(world: World) -> bool:
        mine = left[world.host]
        if mine:
            port = mine.pop(0)
            for service_id in service_ids:
                world.update(service_id, service_config=firewall(port))
            return False
        return not any(left.values()) and _all_active(world, len(service_ids), str(last))

    return done
