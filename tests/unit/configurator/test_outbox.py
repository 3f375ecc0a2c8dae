"""Tests for the outbox: nothing unacknowledged is lost, nothing is reordered (I6)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.configurator.outbox import MOST_BYTES, MOST_NOTIFICATIONS, Batch, Outbox
from nfp.model.requests import HEALTH_STATUS_NOTIFICATION, NSD_CONFIG_NOTIFICATION


def notification(number: int, kind: str = NSD_CONFIG_NOTIFICATION, padding: str = "") -> dict[str, object]:
    return {
        "kind": kind,
        "info": {"context": {"nsd_id": f"d{number % 3}", "number": number, "padding": padding}},
        "notification": [],
    }


def numbers(batch: Batch) -> list[int]:
    answer: Any = json.loads(batch.to_json())
    return [item["info"]["context"]["number"] for item in answer["notifications"]]


class OutboxCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.outbox = Outbox(self.clock, "b1", limit=3)

    def poll(self, boot: str | None = "b1", after: int = 0, wait: float = 10) -> Deferred[Batch]:
        return Deferred.fromCoroutine(self.outbox.poll(boot, after, wait))

    def got(self, *args: Any, **kwargs: Any) -> list[int]:
        return numbers(self.successResultOf(self.poll(*args, **kwargs)))


class Polling(OutboxCase):
    def test_an_answer_has_boot_sequences_and_next(self) -> None:
        self.outbox.append(notification(7))
        self.outbox.append(notification(8))
        answer = json.loads(self.successResultOf(self.poll()).to_json())
        self.assertEqual(answer["boot_id"], "b1")
        self.assertEqual([item["sequence"] for item in answer["notifications"]], [1, 2])
        self.assertEqual(answer["notifications"][0], {"sequence": 1, **notification(7)})
        self.assertEqual(answer["next"], 2)

    def test_notifications_are_given_again_until_acknowledged(self) -> None:
        self.outbox.append(notification(1))
        self.assertEqual(self.got(), [1])
        self.assertEqual(self.got(), [1])
        self.outbox.append(notification(2))
        self.assertEqual(self.got(after=1), [2])
        self.assertEqual(self.got(after=0), [2])

    def test_a_foreign_boot_acknowledges_nothing_and_is_answered_at_once(self) -> None:
        for boot in (None, "b0"):
            self.assertEqual(self.got(boot=boot, after=5), [])
        self.outbox.append(notification(1))
        for boot in (None, "b0"):
            self.assertEqual(self.got(boot=boot, after=5), [1])
        self.assertEqual(len(self.outbox), 1)

    def test_what_nobody_was_given_cannot_be_acknowledged(self) -> None:
        self.outbox.append(notification(1))
        self.assertEqual(self.got(after=99), [1])
        self.outbox.append(notification(2))
        self.assertEqual(self.got(after=99), [2])
        self.assertEqual(len(self.outbox), 1)

    def test_every_waiting_poller_is_woken_by_news(self) -> None:
        first, second = self.poll(), self.poll()
        self.assertNoResult(first)
        self.assertEqual(self.outbox.pollers, 2)
        self.outbox.append(notification(1))
        self.assertEqual(numbers(self.successResultOf(first)), [1])
        self.assertEqual(numbers(self.successResultOf(second)), [1])
        self.assertEqual(self.outbox.pollers, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waiting_ends_with_an_empty_answer(self) -> None:
        self.outbox.append(notification(1))
        self.assertEqual(self.got(), [1])
        waiting = self.poll(after=1, wait=10)
        self.clock.advance(9)
        self.assertNoResult(waiting)
        self.clock.advance(1)
        batch = self.successResultOf(waiting)
        self.assertEqual((batch.notifications, batch.next), ((), 1))

    def test_a_poller_that_goes_away_leaves_nothing(self) -> None:
        waiting = self.poll()
        waiting.cancel()
        self.failureResultOf(waiting)
        self.assertEqual((self.outbox.pollers, self.clock.getDelayedCalls()), (0, []))
        self.outbox.append(notification(1))
        self.assertEqual(self.got(), [1])

    def test_closing_sends_pollers_home(self) -> None:
        waiting = self.poll()
        self.outbox.close()
        self.assertEqual(numbers(self.successResultOf(waiting)), [])
        self.assertEqual(self.got(), [])


class Limits(OutboxCase):
    def test_a_batch_has_at_most_256_notifications(self) -> None:
        for number in range(MOST_NOTIFICATIONS + 1):
            self.outbox.append(notification(number))
        batch = self.outbox.batch()
        self.assertEqual(numbers(batch), list(range(MOST_NOTIFICATIONS)))
        self.assertEqual(self.got(after=batch.next), [MOST_NOTIFICATIONS])

    def test_a_batch_has_at_most_a_mebibyte(self) -> None:
        for number in range(4):
            self.outbox.append(notification(number, padding="x" * (MOST_BYTES // 3)))
        batch = self.outbox.batch()
        self.assertEqual(numbers(batch), [0, 1])
        self.assertLessEqual(len(batch.to_json()), MOST_BYTES + 200)

    def test_a_single_large_notification_is_given_all_the_same(self) -> None:
        self.outbox.append(notification(1, padding="ä" * MOST_BYTES))
        self.assertEqual(self.got(), [1])

    def test_the_oldest_health_reports_go_first_and_results_never(self) -> None:
        for number in range(10):
            kind = HEALTH_STATUS_NOTIFICATION if number % 2 else NSD_CONFIG_NOTIFICATION
            self.outbox.append(notification(number, kind))
        self.assertEqual(self.got(), [0, 2, 4, 5, 6, 7, 8, 9])
        self.assertEqual((self.outbox.results, self.outbox.dropped), (5, 2))

    def test_acknowledged_health_reports_make_room(self) -> None:
        for number in range(3):
            self.outbox.append(notification(number, HEALTH_STATUS_NOTIFICATION))
        self.outbox.batch()
        self.outbox.acknowledge(3)
        for number in range(3, 6):
            self.outbox.append(notification(number, HEALTH_STATUS_NOTIFICATION))
        self.assertEqual(self.got(), [3, 4, 5])
        self.assertEqual(self.outbox.dropped, 0)


class LossyPolling(RuleBasedStateMachine):
    """Pollers whose answers may get lost, and who may forget what they had, against the outbox."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(Clock(), "b1", limit=3)
        self.told: list[int] = []
        self.results: list[int] = []
        self.stored: list[int] = []
        self.cursor: tuple[str | None, int] = (None, 0)

    @rule(health=st.booleans())
    def something_happens(self, health: bool) -> None:
        number = len(self.told)
        self.told.append(number)
        if not health:
            self.results.append(number)
        kind = HEALTH_STATUS_NOTIFICATION if health else NSD_CONFIG_NOTIFICATION
        assert self.outbox.append(notification(number, kind)) == number + 1

    def poll(self) -> Batch:
        boot, after = self.cursor
        polling = Deferred.fromCoroutine(self.outbox.poll(boot, after, 0))
        found: list[Batch] = []
        polling.addCallback(found.append)
        return found[0]

    @rule()
    def an_answer_arrives(self) -> None:
        batch = self.poll()
        self.stored.extend(number for number in numbers(batch) if number not in self.stored)
        self.cursor = (batch.boot_id, batch.next)

    @rule()
    def an_answer_is_lost(self) -> None:
        self.poll()

    @rule()
    def the_poller_is_replaced(self) -> None:
        self.cursor = (None, 0)

    @precondition(lambda self: self.cursor[0] is not None)
    @rule(after=st.integers(0, 50))
    def a_confused_poller_acknowledges_too_little(self, after: int) -> None:
        boot, cursor = self.cursor
        self.cursor = (boot, min(after, cursor))

    @invariant()
    def stored_in_order(self) -> None:
        assert self.stored == sorted(self.stored)

    @invariant()
    def every_result_is_stored_or_kept(self) -> None:
        kept = [json.loads(entry.text)["sequence"] - 1 for entry in self.outbox._entries.values()]
        assert set(self.results) <= set(self.stored) | set(kept)
        assert len([number for number in kept if number not in self.results]) <= 3

    def teardown(self) -> None:
        self.cursor = (None, 0)
        self.an_answer_arrives()
        assert set(self.results) <= set(self.stored)


class NothingIsLost(SynchronousTestCase):
    def test_I6_results_survive_lossy_and_forgetful_pollers_in_order(self) -> None:
        run_state_machine_as_test(
            LossyPolling, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
        )
