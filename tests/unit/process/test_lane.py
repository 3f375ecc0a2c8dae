"""What a lane tells its worker, and when."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Conflict, Invalid, Permanent
from nfp.process import wire
from nfp.process.interfaces import Event
from nfp.process.lane import Lane
from nfp.process.tasks import Limits
from tests.unit.process.fakes import Diary

KINDS = {"key": True, "poll": False}


def event(key: str | None, n: int = 0) -> Event:
    """An event."""
    return Event(key, "do", {"n": n})


class LaneCase(SynchronousTestCase):
    """Has a lane with a worker that remembers."""

    limits = Limits()

    def setUp(self) -> None:
        """A ready worker."""
        self.clock = Clock()
        self.diary = Diary()
        self.lane = Lane(0, self.clock, self.diary, self.limits, jitter=lambda: 1.0)
        self.told: list[list[Any]] = []
        self.start()

    def start(self) -> None:
        """A fresh worker is ready."""
        self.told.clear()
        self.lane.started(KINDS, lambda message: self.told.append(json.loads(message)))

    def events(self) -> list[int]:
        """Numbers of the events that the worker was told, in order."""
        return [message[4]["n"] for message in self.told if message[0] == wire.EVENT]

    def keys(self) -> list[str]:
        """Keys that the worker was told to run, in order."""
        return [message[2] for message in self.told if message[0] == wire.RUN]

    def answer(self, n: int, result: object = None) -> None:
        """The worker has handled event *n*."""
        self.lane.answered(self.identity(n), result)

    def identity(self, n: int) -> int:
        """Under which identity the worker was told event *n* last."""
        return [m[1] for m in self.told if m[0] == wire.EVENT and m[4]["n"] == n][-1]

    def ran(self, key: str, outcome: str = wire.SETTLED, delay: float | None = None) -> None:
        """The worker's run of *key* has ended."""
        [*_, identity] = [message[1] for message in self.told if message[0] == wire.RUN and message[2] == key]
        self.lane.ran(identity, outcome, delay)


class EventTests(LaneCase):
    """Events."""

    limits = Limits(events=3)

    def test_events_of_one_key_go_one_at_a_time_those_of_others_beside(self) -> None:
        for n, key in enumerate(["a", "a", "b", None, None]):
            self.lane.submit(event(key, n))
        self.assertEqual(self.events(), [0, 2, 3])
        self.answer(2)
        self.assertEqual(self.events(), [0, 2, 3, 4])
        self.answer(0)
        self.assertEqual(self.events(), [0, 2, 3, 4, 1])

    def test_results_and_errors_reach_the_submitter(self) -> None:
        good, bad = self.lane.submit(event("a", 1)), self.lane.submit(event("b", 2))
        self.answer(1, {"x": 1})
        self.lane.failed(self.identity(2), "Conflict", "no", "owner")
        self.assertEqual(self.successResultOf(good), {"x": 1})
        self.assertEqual(self.failureResultOf(bad, Conflict).value.field, "owner")

    def test_what_is_no_json_is_refused_and_leaves_nothing_behind(self) -> None:
        self.assertRaises(Invalid, self.lane.submit, Event("a", "do", {"x": object()}))
        self.lane.submit(event("a", 1))
        self.assertEqual(self.events(), [1])

    def test_what_a_worker_submits_does_not_wait_for_the_limit(self) -> None:
        for n in range(3):
            self.lane.submit(event(None, n))
        self.lane.submit(event("x", 3))
        self.lane.submit(event("y", 4))
        self.lane.submit(event("y", 5), nested=True)
        self.assertEqual(self.events(), [0, 1, 2, 4])
        self.answer(4)
        self.assertEqual(self.events(), [0, 1, 2, 4, 5])

    def test_events_wait_for_a_worker(self) -> None:
        self.lane.died("signal 9")
        waiting = self.lane.submit(event("a", 1))
        self.assertNoResult(waiting)
        self.start()
        self.assertEqual(self.events(), [1])


class KeyTests(LaneCase):
    """Keys."""

    limits = Limits(keys=2)

    def test_wakes_coalesce(self) -> None:
        self.lane.died("signal 9")
        for _ in range(3):
            self.lane.wake("key:a")
        self.start()
        self.assertEqual(self.keys(), ["key:a"])

    def test_a_wake_during_the_run_is_not_lost(self) -> None:
        self.lane.wake("key:a")
        self.lane.wake("key:a")
        self.lane.wake("key:a")
        self.ran("key:a")
        self.assertEqual(self.keys(), ["key:a"] * 2)
        self.ran("key:a")
        self.assertEqual(self.keys(), ["key:a"] * 2)

    def test_a_settled_key_runs_at_the_next_wake(self) -> None:
        self.lane.wake("key:a")
        self.ran("key:a")
        self.lane.wake("key:a")
        self.assertEqual(self.keys(), ["key:a"] * 2)

    def test_more_keys_than_the_limit_wait(self) -> None:
        for name in "abc":
            self.lane.wake(f"key:{name}")
        self.assertEqual(self.keys(), ["key:a", "key:b"])
        self.ran("key:a")
        self.assertEqual(self.keys(), ["key:a", "key:b", "key:c"])

    def test_polls_take_no_place(self) -> None:
        for name in "abcd":
            self.lane.wake(f"poll:{name}")
        self.lane.wake("key:a")
        self.assertEqual(len(self.keys()), 5)

    def test_a_key_sleeps_until_its_time_or_the_next_wake(self) -> None:
        self.lane.wake("key:a")
        self.ran("key:a", wire.AGAIN, 10.0)
        self.assertEqual(self.lane.stats()["keys_sleeping"], 1)
        self.clock.advance(9.9)
        self.assertEqual(len(self.keys()), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.keys()), 2)
        self.ran("key:a", wire.AGAIN, 10.0)
        self.lane.wake("key:a")
        self.assertEqual(len(self.keys()), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_key_woken_during_its_run_does_not_sleep(self) -> None:
        self.lane.wake("key:a")
        self.lane.wake("key:a")
        self.ran("key:a", wire.AGAIN, 10.0)
        self.assertEqual(len(self.keys()), 2)

    def test_failing_runs_are_tried_again_less_and_less_often(self) -> None:
        self.lane.wake("key:a")
        waits = []
        for _ in range(8):
            self.ran("key:a", wire.FAILED)
            [call] = self.clock.getDelayedCalls()
            waits.append(call.getTime() - self.clock.seconds())
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60])
        self.ran("key:a")
        self.lane.wake("key:a")
        self.ran("key:a", wire.UNAVAILABLE)
        self.assertAlmostEqual(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds(), 0.1)

    def test_sleepers_stay_asleep_when_the_worker_dies(self) -> None:
        self.lane.wake("key:a")
        self.ran("key:a", wire.AGAIN, 10.0)
        self.lane.died("signal 9")
        self.start()
        self.assertEqual(self.keys(), [])
        self.clock.advance(10)
        self.assertEqual(self.keys(), ["key:a"])

    def test_a_kind_that_no_module_runs_is_refused(self) -> None:
        self.lane.wake("odd:a")
        self.lane.wake("odd:a")
        self.assertEqual((self.keys(), self.lane.stats()["keys_waiting"]), ([], 0))


class DeathTests(LaneCase):
    """The worker dies."""

    def die(self) -> None:
        """And a fresh one is ready."""
        self.lane.died("signal 11\ntraceback")
        self.start()

    def test_suspects_run_alone_and_others_after(self) -> None:
        self.lane.submit(event("a", 1))
        self.lane.wake("key:b")
        self.die()
        self.lane.submit(event("c", 2))
        self.lane.wake("key:d")
        self.assertEqual((self.events(), self.keys()), ([1], []))
        self.answer(1)
        self.assertEqual((self.events(), self.keys()), ([1], ["key:b"]))
        self.ran("key:b")
        self.assertEqual((self.events(), self.keys()), ([1, 2], ["key:b", "key:d"]))

    def test_an_event_that_is_alone_three_times_is_parked_and_the_next_of_its_key_runs(self) -> None:
        poison = self.lane.submit(event("a", 1))
        self.lane.submit(event("a", 2))
        for _ in range(3):
            self.assertEqual(self.events(), [1])
            self.die()
        self.failureResultOf(poison, Permanent)
        self.assertEqual(self.diary.entries, [("parked", "do", "signal 11\ntraceback")])
        self.assertEqual(self.events(), [2])

    def test_a_key_that_is_alone_three_times_is_held_until_released(self) -> None:
        self.lane.wake("key:a")
        for _ in range(3):
            self.die()
        self.assertEqual(self.diary.entries, [("held", "key:a", "signal 11\ntraceback")])
        self.lane.wake("key:a")
        self.assertEqual((self.keys(), self.lane.stats()["held"]), ([], ["key:a"]))
        self.assertTrue(self.lane.release("key:a"))
        self.assertFalse(self.lane.release("key:a"))
        self.lane.wake("key:a")
        self.assertEqual(self.keys(), ["key:a"])

    def test_strikes_are_forgotten_when_a_run_ends(self) -> None:
        self.lane.wake("key:a")
        for _ in range(5):
            self.die()
            self.die()
            self.ran("key:a")
            self.lane.wake("key:a")
        self.assertEqual(self.diary.entries, [])

    def test_a_poll_is_no_suspect_and_runs_beside_one(self) -> None:
        self.lane.wake("poll:a")
        self.lane.submit(event("a", 1))
        for _ in range(2):
            self.die()
            self.assertEqual((self.events(), self.keys()), ([1], ["poll:a"]))
        self.answer(1)
        self.lane.wake("poll:a")
        for _ in range(4):
            self.die()
        self.assertEqual((self.diary.entries, self.keys()), ([], ["poll:a"]))

    def test_a_suspect_gets_an_answer_to_what_it_submits(self) -> None:
        for n, key in enumerate(["a", "b"]):
            self.lane.submit(event(key, n))
        self.die()
        self.lane.submit(event("c", 2))
        self.assertEqual(self.events(), [0])
        self.lane.submit(event("c", 3), nested=True)  # behind 2, which waits for the suspects
        self.lane.submit(event("b", 4), nested=True)  # behind 1, a suspect itself
        self.assertEqual(self.events(), [0, 2, 1])
        self.answer(2)
        self.answer(1)
        self.assertEqual(self.events(), [0, 2, 1, 3, 4])


class DrainTests(LaneCase):
    """Stopping."""

    def test_events_are_finished_runs_ended_and_no_run_begun(self) -> None:
        self.lane.submit(event("a", 1))
        self.lane.submit(event("a", 2))
        self.lane.wake("key:a")
        self.lane.wake("key:b")
        self.ran("key:b", wire.AGAIN, 5.0)
        self.lane.wake("poll:a")
        drained = self.lane.drain()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.lane.wake("key:c")
        self.answer(1)
        self.ran("key:a", wire.AGAIN, 1.0)
        self.assertNoResult(drained)
        self.answer(2)
        self.assertIsNone(self.successResultOf(drained))
        self.assertEqual(self.keys(), ["key:a", "key:b", "poll:a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_death_meanwhile_does_not_lose_events(self) -> None:
        self.lane.submit(event("a", 1))
        self.lane.submit(event("b", 2))
        self.lane.wake("key:a")
        drained = self.lane.drain()
        self.lane.died("signal 9")
        self.assertNoResult(drained)
        self.start()
        self.answer(1)
        self.answer(2)
        self.assertIsNone(self.successResultOf(drained))
        self.assertEqual(self.keys(), [])


class AlwaysTests(SynchronousTestCase):
    """Whatever happens, in whichever order."""

    @given(
        st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.booleans()), max_size=25),
        st.randoms(use_true_random=False),
    )
    def test_every_good_event_is_answered_in_order_and_every_poison_parked(
        self, tasks: list[tuple[str | None, bool]], random: Any
    ) -> None:
        diary = Diary()
        lane = Lane(0, Clock(), diary, Limits(events=4))
        running: dict[int, tuple[int, str | None]] = {}
        finished: list[tuple[int, str | None]] = []

        def told(message: bytes) -> None:
            _, identity, key, _, payload, _ = json.loads(message)
            self.assertNotIn(key, {other for _, other in running.values()} - {None})
            running[identity] = (payload["n"], key)

        lane.started(KINDS, told)
        results: dict[int, object] = {}
        for n, (key, _) in enumerate(tasks):
            lane.submit(event(key, n)).addBoth(lambda result, n=n: results.update({n: result}))
        deaths = 0
        while running:
            identity = random.choice(sorted(running))
            n, key = running[identity]
            if tasks[n][1]:
                running.clear()
                deaths += 1
                lane.died("signal 11")
                lane.started(KINDS, told)
            else:
                del running[identity]
                finished.append((n, key))
                lane.answered(identity, n)
        for n, (_, bad) in enumerate(tasks):
            result = results[n]
            told = result.type if isinstance(result, Failure) else result
            self.assertEqual(told, Permanent if bad else n)
        for each in ("a", "b", "c", "d"):
            order = [n for n, key in finished if key == each]
            self.assertEqual(order, sorted(order))
        poison = sum(bad for _, bad in tasks)
        self.assertEqual(len(diary.entries), poison)
        self.assertLessEqual(deaths, 4 * poison)
