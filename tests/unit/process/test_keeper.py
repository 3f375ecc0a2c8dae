"""How a worker is kept alive: pulse, replacement, pauses, stop; and what the pool routes."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon import journal
from nfp.model.errors import NfpError, Permanent, Unavailable
from nfp.process import wire
from nfp.process.interfaces import Event
from nfp.process.keeper import Pulse
from nfp.process.pool import Unheeding, WorkerPool, lane_of
from tests.unit.process.fakes import Diary, FakeChild, Nursery


class PoolCase(SynchronousTestCase):
    """Has a pool of fakes."""

    count = 1

    def setUp(self) -> None:
        """Start it."""
        self.clock = Clock()
        self.diary = Diary()
        self.nursery = Nursery()
        self.pool = WorkerPool(
            self.clock,
            "group",
            [],
            self.count,
            reader="x:y",
            owner=self.diary,
            spawn=self.nursery,
            pulse=Pulse(),
            stop_timeout=30,
            jitter=lambda: 1.0,
        )
        self.pool.startService()

    @property
    def child(self) -> FakeChild:
        """The youngest."""
        return self.nursery.children[-1]

    def pass_time(self, seconds: float) -> None:
        """Second by second, as pings must be answered."""
        for _ in range(int(seconds)):
            self.clock.advance(1)


class PulseTests(PoolCase):
    """A silent worker is killed."""

    def test_a_worker_is_pinged_every_five_seconds(self) -> None:
        self.pass_time(20)
        self.assertEqual(len(self.child.take(wire.PING)), 4)

    def test_thirty_seconds_of_silence_kill(self) -> None:
        self.child.is_ready()
        self.pass_time(34)
        self.assertEqual(len(self.nursery.children), 1)
        self.pass_time(1)
        self.assertEqual(self.nursery.children[0].ends, ["abort"])
        self.assertEqual(self.pool.stats()[0]["last_death"], "signal 6")

    def test_any_message_breaks_the_silence(self) -> None:
        self.child.is_ready()
        for _ in range(10):
            self.pass_time(28)
            self.child.says(wire.PONG)
        self.assertEqual(self.child.ends, [])

    def test_time_in_which_the_listener_stood_still_is_no_silence(self) -> None:
        self.child.is_ready()
        self.clock.advance(300)
        self.clock.advance(5)
        self.assertEqual(self.child.ends, [])


class ReplacementTests(PoolCase):
    """A dead worker is replaced."""

    def test_at_once_when_it_died_of_its_work(self) -> None:
        self.child.is_ready()
        self.pool.wake("key:a")
        self.child.dies("signal 11")
        self.assertEqual(len(self.nursery.children), 2)
        self.child.is_ready()
        self.assertEqual(self.diary.entries, [("started", 0), ("started", 0)])
        self.assertEqual([message[2] for message in self.child.take(wire.RUN)], ["key:a"])

    def test_after_longer_and_longer_pauses_when_it_cannot_start(self) -> None:
        pauses = []
        for _ in range(9):
            self.child.dies("exit code 1")
            before, count = self.clock.seconds(), len(self.nursery.children)
            while len(self.nursery.children) == count:
                self.clock.advance(0.5)
            pauses.append(self.clock.seconds() - before)
        self.assertEqual(pauses, [0.5, 1, 2, 4, 8, 16, 30, 30, 30])

    def test_after_a_pause_when_it_dies_early_without_work(self) -> None:
        self.child.is_ready()
        self.child.dies("exit code 1")
        self.assertEqual(len(self.nursery.children), 1)
        self.clock.advance(0.5)
        self.child.is_ready()
        self.pass_time(10)
        self.child.dies("signal 9")
        self.assertEqual(len(self.nursery.children), 3)

    def test_after_a_pause_when_the_system_has_no_room_for_a_process(self) -> None:
        self.child.is_ready()
        self.pool.wake("key:a")
        self.nursery.refusals = 2
        self.child.dies("signal 9")
        self.assertEqual((len(self.nursery.children), self.pool.stats()[0]["restarts"]), (1, 2))
        self.clock.advance(0.5)
        self.assertIn("could not be started", str(self.pool.stats()[0]["last_death"]))
        self.clock.advance(1)
        self.assertEqual(len(self.nursery.children), 2)

    def test_a_message_of_the_dead_is_not_taken_for_its_successors(self) -> None:
        self.child.is_ready()
        old = self.child
        old.says(wire.SUBMIT, 1, "a", "do", {}, {})
        old.dies("signal 9")
        self.child.is_ready()
        [[_, identity, *_]] = self.child.take(wire.EVENT)
        self.child.says(wire.ANSWER, identity, "x")
        self.assertEqual(old.take(wire.ANSWER) + self.child.take(wire.ANSWER), [])


class StartTests(PoolCase):
    """The pool tells when it has started."""

    count = 2

    def test_when_all_are_ready_once(self) -> None:
        started = self.pool.when_started()
        self.nursery.children[0].is_ready()
        self.assertNoResult(started)
        self.nursery.children[1].is_ready()
        self.assertIsNone(self.successResultOf(started))
        self.assertIsNone(self.successResultOf(self.pool.when_started()))

    def test_when_one_says_that_it_cannot(self) -> None:
        started = [self.pool.when_started(), self.pool.when_started()]
        self.child.says(wire.BROKEN, "module x is broken")
        for each in started:
            self.assertEqual(self.failureResultOf(each, NfpError).value.reason, "module x is broken")

    def test_who_asks_later_is_told_too(self) -> None:
        self.child.says(wire.BROKEN, "module x is broken")
        self.failureResultOf(self.pool.when_started(), NfpError)


class RoutingTests(PoolCase):
    """Keys choose workers."""

    count = 3

    def setUp(self) -> None:
        """All are ready."""
        super().setUp()
        for child in self.nursery.children:
            child.is_ready()

    def told(self, code: str) -> list[list[list[Any]]]:
        """Messages of a code, by worker."""
        return [child.take(code) for child in self.nursery.children]

    def test_a_key_has_one_queue_in_every_process_for_ever(self) -> None:
        self.assertEqual([lane_of(key, 4) for key in ("a", "service:1", "ü")], [3, 2, 1])

    def test_events_without_key_take_turns(self) -> None:
        for _ in range(6):
            self.pool.submit(Event(None, "do", {}))
        self.assertEqual([len(told) for told in self.told(wire.EVENT)], [2, 2, 2])

    def test_a_worker_wakes_and_asks_whoever_owns_the_key(self) -> None:
        asking = self.nursery.children[0]
        asking.says(wire.WAKE, "key:a")
        self.assertEqual([len(told) for told in self.told(wire.RUN)].index(1), lane_of("key:a", 3))
        asking.says(wire.SUBMIT, 7, "b", "do", {"x": 1}, {"request_id": "r"})
        owner = self.nursery.children[lane_of("b", 3)]
        [[_, identity, key, name, payload, context]] = owner.take(wire.EVENT)
        self.assertEqual((key, name, payload, context), ("b", "do", {"x": 1}, {"request_id": "r"}))
        owner.says(wire.FAILURE, identity, "Conflict", "no", "f")
        self.assertEqual(asking.take(wire.FAILURE), [[wire.FAILURE, 7, "Conflict", "no", "f"]])

    def test_the_request_id_goes_along(self) -> None:
        with journal.bind("req-9"):
            self.pool.submit(Event("a", "do", {}))
            self.pool.submit(Event("b", "do", {}, {"request_id": "other"}))
        contexts = [message[5]["request_id"] for told in self.told(wire.EVENT) for message in told]
        self.assertEqual(sorted(contexts), ["other", "req-9"])

    def test_what_a_module_emits_reaches_the_owner(self) -> None:
        self.nursery.children[1].says(wire.EMIT, "health", {"n": 1})
        self.assertEqual(self.diary.entries[-1], ("emit", 1, "health", {"n": 1}))


class StopTests(PoolCase):
    """Stopping never takes longer than its time."""

    def setUp(self) -> None:
        """It is ready and has work."""
        super().setUp()
        self.child.is_ready()
        self.answer = self.pool.submit(Event("a", "do", {}))
        [[_, self.identity, *_]] = self.child.take(wire.EVENT)

    def test_what_is_in_hand_is_finished_first(self) -> None:
        stopped = self.pool.stopService()
        self.failureResultOf(self.pool.submit(Event("b", "do", {})), Unavailable)
        self.assertEqual(self.child.take(wire.STOP), [])
        self.child.says(wire.ANSWER, self.identity, 5)
        self.assertEqual(self.successResultOf(self.answer), 5)
        self.assertEqual(len(self.child.take(wire.STOP)), 1)
        self.assertNoResult(stopped)
        self.child.dies("exit code 0")
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.nursery.children), 1)

    def test_what_does_not_end_stays_unanswered_and_is_killed(self) -> None:
        stopped = self.pool.stopService()
        self.pass_time(25)
        self.assertEqual(len(self.child.take(wire.STOP)), 1)
        self.pass_time(4)
        self.assertNoResult(stopped)
        self.pass_time(1)
        self.assertEqual(self.child.ends, ["kill"])
        self.successResultOf(stopped)
        self.assertNoResult(self.answer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_is_to_blame_for_the_kill_at_the_end(self) -> None:
        for _ in range(2):
            self.child.dies("signal 11")
            self.child.is_ready()
        stopped = self.pool.stopService()
        self.pass_time(30)
        self.successResultOf(stopped)
        self.assertNoResult(self.answer)
        self.assertNotIn("parked", [entry[0] for entry in self.diary.entries])

    def test_a_death_that_ends_the_last_work_in_hand_has_no_replacement(self) -> None:
        self.answer.addErrback(lambda failure: failure.trap(Permanent))
        stopped = self.pool.stopService()
        deaths = 0
        while ("parked", "do") not in [entry[:2] for entry in self.diary.entries]:
            if deaths:
                self.child.is_ready()
            self.child.dies("signal 11")
            deaths += 1
        self.successResultOf(stopped)
        self.assertEqual(len(self.nursery.children), deaths)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_pause_before_a_replacement_is_cut_short(self) -> None:
        self.child.says(wire.ANSWER, self.identity, 5)
        self.child.dies("exit code 1")
        self.successResultOf(self.pool.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OwnerTests(PoolCase):
    """An owner's error stays its own."""

    def test_it_is_logged_and_the_pool_goes_on(self) -> None:
        class Failing(Unheeding):
            def on_started(self, index: int) -> None:
                raise ValueError("x")

        nursery = Nursery()
        pool = WorkerPool(self.clock, "g", [], 1, reader="x:y", owner=Failing(), spawn=nursery)
        pool.startService()
        nursery.children[0].is_ready()
        pool.submit(Event("a", "do", {}))
        self.assertEqual(len(nursery.children[0].take(wire.EVENT)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
