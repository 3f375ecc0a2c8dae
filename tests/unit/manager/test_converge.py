"""The converge loop: leases, fences, conditional release (I4, I5)."""

from __future__ import annotations

import random
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.converge import Converger
from nfp.manager.plan.decisions import Decision, Settled, Step, Wait
from nfp.manager.store import accept, leases
from nfp.manager.store.engine import Inline, Store
from nfp.manager.store.outcome import Intent, Outcome, Recording
from nfp.manager.store.tables import NetworkService
from nfp.model.errors import Permanent, Transient
from nfp.process import interfaces as process
from tests.unit.manager.requests import SERVICE_ID, engine_in_memory, message, network_service

TABLE: Any = NetworkService.__table__


class Work(Step):
    """A step."""


class Kind:
    """Decides as it was told, in order, and does its work as it was told."""

    prefix = "service"
    table = TABLE

    def __init__(self, actions: list[Any], work: Any = None) -> None:
        self.actions = actions
        self.work = work
        self.fences: list[int] = []
        self.done = 0

    def read(self, connection: sa.Connection, object_id: str) -> dict[str, Any] | None:
        row = connection.execute(sa.select(TABLE).where(TABLE.c.id == object_id)).mappings().one_or_none()
        return None if row is None else dict(row)

    def row(self, view: dict[str, Any]) -> dict[str, Any]:
        return view

    def decide(self, view: dict[str, Any], now: float) -> Decision:
        """The action after those that were done; the last one for ever."""
        return Decision(self.actions[min(self.done, len(self.actions) - 1)], view["status"])

    def describe(self, row: dict[str, Any], decision: Decision) -> dict[str, Any]:
        return {}

    def announce(self, connection: sa.Connection, row: dict[str, Any], changed: dict[str, Any]) -> list[str]:
        return []

    def reserve(self, connection: sa.Connection, object_id: str, step: object) -> None:
        pass

    async def perform(self, step: Step, view: dict[str, Any], fence: int) -> Recording:
        self.fences.append(fence)
        self.done += 1
        if self.work is not None:
            await self.work()
        return lambda connection, row: Outcome({"description": "done"}, ["device:x"])


class Intends(Kind):
    """Says what it is about to do."""

    async def perform(self, step: Step, view: dict[str, Any], fence: int) -> Intent:  # type: ignore[override]
        async def effect() -> None:
            self.done += 1
            await self.work()

        return Intent(_described("meant"), effect, _described("undone"))


def _described(text: str) -> Recording:
    return lambda connection, row: Outcome({"description": text})


class ConvergeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = engine_in_memory()
        self.addCleanup(self.engine.dispose)
        self.clock = Clock()
        self.store = Store(self.engine, Inline(), self.clock)
        self.woken: list[str] = []
        with self.engine.begin() as connection:
            accept.create(connection, network_service(id=SERVICE_ID), message(1))

    def row(self) -> dict[str, Any]:
        with self.engine.connect() as connection:
            return dict(connection.execute(sa.select(TABLE)).mappings().one())

    def write(self, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(TABLE).values(**values))

    def run_it(self, kind: Kind, owner: str = "me") -> Deferred[Any]:
        converger = Converger(kind, self.store, self.clock, owner, 60.0, self.woken.append, random.Random(1))
        return Deferred.fromCoroutine(converger.run(f"service:{SERVICE_ID}"))

    def test_it_works_until_it_is_settled_and_gives_the_lease_back(self) -> None:
        result = self.successResultOf(self.run_it(Kind([Work(), Work(), Settled()])))
        row = self.row()
        self.assertIsInstance(result, process.Settled)
        self.assertEqual((None, row["revision"]), (row["lease_owner"], row["converged_revision"]))
        self.assertEqual(["device:x", "device:x"], self.woken)

    def test_a_wait_is_kept_in_the_store_with_its_reason(self) -> None:
        result = self.successResultOf(self.run_it(Kind([Wait("for godot", 30.0)])))
        self.assertEqual(process.RunAgain(30.0), result)
        self.assertEqual(("for godot", 30.0), (self.row()["waiting_for"], self.row()["wake_at"]))

    def test_I4_a_fact_that_comes_at_the_last_moment_is_seen(self) -> None:
        """Between the look at an object whose lease is ours and the lease's return."""
        kind, looks = Kind([Settled()]), []

        def late(view: dict[str, Any], now: float) -> Decision:
            looks.append(view["revision"])
            if len(looks) == 2:
                self.write(revision=TABLE.c.revision + 1)
            return Decision(Work() if len(looks) == 1 else Settled(), view["status"])

        kind.decide = late  # type: ignore[method-assign]
        self.successResultOf(self.run_it(kind))
        self.assertEqual(looks[-1], self.row()["revision"], "decided again on the new revision")
        self.assertEqual(self.row()["revision"], self.row()["converged_revision"])

    def test_I4_a_fact_that_comes_during_a_step_is_seen(self) -> None:
        async def work() -> None:
            self.write(revision=TABLE.c.revision + 5)

        before = self.row()["revision"]
        self.successResultOf(self.run_it(Kind([Work(), Settled()], work)))
        self.assertEqual((before + 6, before + 6), (self.row()["revision"], self.row()["converged_revision"]))

    def test_I4_a_fact_that_comes_while_nobody_works_is_seen(self) -> None:
        kind, facts = Kind([Settled()]), [1]
        decide = kind.decide

        def late(view: dict[str, Any], now: float) -> Decision:
            if facts:
                self.write(revision=TABLE.c.revision + facts.pop())
            return decide(view, now)

        kind.decide = late  # type: ignore[method-assign]
        self.assertEqual(process.RunAgain(0.0), self.successResultOf(self.run_it(kind)))
        self.assertLess(self.row()["converged_revision"], self.row()["revision"])
        self.assertIsInstance(self.successResultOf(self.run_it(kind)), process.Settled)
        self.assertEqual(self.row()["revision"], self.row()["converged_revision"])

    def test_an_object_that_another_works_on_is_left_alone(self) -> None:
        with self.engine.begin() as connection:
            leases.take(connection, TABLE, SERVICE_ID, "other", 60.0)
        kind = Kind([Work()])
        self.assertEqual(process.RunAgain(60.0), self.successResultOf(self.run_it(kind)))
        self.assertEqual([], kind.fences)

    def test_I5_every_taking_has_a_higher_fence(self) -> None:
        fences = []
        for _ in range(3):
            kind = Kind([Work(), Settled()])
            self.successResultOf(self.run_it(kind))
            fences += kind.fences
        self.assertEqual(sorted(set(fences)), fences)

    def test_I5_nothing_is_recorded_under_a_lease_that_was_lost(self) -> None:
        working: Deferred[None] = Deferred()

        async def work() -> None:
            await working

        running = self.run_it(Kind([Work()], work))
        self.write(lease_until=0.0)
        with self.engine.begin() as connection:
            self.assertTrue(leases.take(connection, TABLE, SERVICE_ID, "other", 60.0))
        working.callback(None)
        self.assertEqual(process.RunAgain(60.0), self.successResultOf(running))
        self.assertEqual(("", "other"), (self.row()["description"], self.row()["lease_owner"]))

    def test_a_failure_is_counted_and_held_back(self) -> None:
        async def work() -> None:
            raise Transient("no room")

        self.successResultOf(self.run_it(Kind([Work(), Settled()], work)))
        self.assertEqual(
            (1, "no room"), tuple(self.row()["attempts"]["Work"][name] for name in ("count", "reason"))
        )

    def test_a_driver_that_breaks_counts_as_a_failure_that_may_pass(self) -> None:
        async def work() -> None:
            raise ZeroDivisionError

        self.successResultOf(self.run_it(Kind([Work(), Settled()], work)))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertIn("ZeroDivisionError", self.row()["attempts"]["Work"]["reason"])

    def test_a_permanent_failure_is_the_objects_failure(self) -> None:
        async def work() -> None:
            raise Permanent("never")

        self.successResultOf(self.run_it(Kind([Work(), Settled()], work)))
        self.assertEqual("never", self.row()["failure"])

    def test_success_forgets_earlier_failures(self) -> None:
        self.write(attempts={"Work": {"count": 3, "until": 0.0, "reason": "x"}})
        self.successResultOf(self.run_it(Kind([Work(), Settled()])))
        self.assertEqual({}, self.row()["attempts"])

    def test_an_object_that_is_gone_is_settled(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(TABLE))
        self.assertIsInstance(self.successResultOf(self.run_it(Kind([]))), process.Settled)

    def test_a_dead_workers_leases_end_by_its_name_and_what_it_did_is_uncertain(self) -> None:
        with self.engine.begin() as connection:
            leases.take(connection, TABLE, SERVICE_ID, "host/0/123", 60.0)
            self.assertEqual(0, leases.clear(connection, "host/1/"))
            self.assertFalse(leases.take(connection, TABLE, SERVICE_ID, "host/0/456", 60.0))
            self.assertEqual(1, leases.clear(connection, "host/0/"))
            self.assertTrue(leases.take(connection, TABLE, SERVICE_ID, "host/0/456", 60.0))
        self.assertEqual((2, 2), (self.row()["fence"], self.row()["uncertain_below"]))

    def test_a_lease_that_was_given_back_leaves_nothing_uncertain(self) -> None:
        for _ in range(2):
            self.successResultOf(self.run_it(Kind([Work(), Settled()])))
        self.assertEqual(0, self.row()["uncertain_below"])

    def test_I1_an_intent_is_recorded_before_its_effect(self) -> None:
        seen = []

        async def effect() -> None:
            seen.append(self.row()["description"])

        self.successResultOf(self.run_it(Intends([Work(), Settled()], effect)))
        self.assertEqual(["meant"], seen)

    def test_an_intent_that_failed_is_undone_and_counted(self) -> None:
        async def effect() -> None:
            raise Transient("no agent")

        self.successResultOf(self.run_it(Intends([Work(), Settled()], effect)))
        self.assertEqual(("undone", 1), (self.row()["description"], self.row()["attempts"]["Work"]["count"]))
