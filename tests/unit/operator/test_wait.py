"""Tests for waiting until a service has settled."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Transient, Unavailable
from nfp.operator.manager import Manager
from nfp.operator.wait import NotSettled, until_settled
from tests.unit.operator.manager_double import ManagerDouble


class Waiting(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.double = ManagerDouble()
        self.service = self.double.add(status="PENDING_CREATE")
        self.told: list[tuple[float, str]] = []

    def goes_through(self, *stages: Any) -> None:
        self.double.ahead[self.service["id"]] = list(stages)

    def wait(self, timeout: float = 60.0) -> Deferred[Any]:
        def tell(seconds: float, text: str) -> None:
            self.told.append((round(seconds, 3), text))

        return Deferred.fromCoroutine(
            until_settled(Manager(self.double, 10.0), self.clock, self.service["id"], timeout, tell)
        )

    def test_each_news_is_told_once_with_its_time(self) -> None:
        self.goes_through(
            ("PENDING_CREATE", "booting"),
            ("PENDING_CREATE", "booting"),
            ("PENDING_CREATE", None),
            ("ACTIVE", ""),
        )
        result = self.wait()
        for pause in (0.1, 0.15, 0.225):
            self.assertNoResult(result)
            self.clock.advance(pause + 1e-6)
        self.assertEqual(self.successResultOf(result)["status"], "ACTIVE")
        self.assertEqual(
            self.told, [(0.0, "PENDING_CREATE: booting"), (0.25, "PENDING_CREATE"), (0.475, "ACTIVE")]
        )

    def test_the_pauses_grow_to_a_second(self) -> None:
        result = self.wait()
        self.clock.pump([0.1] * 300)
        self.assertNoResult(result)
        self.assertLess(len(self.double.calls), 40)
        self.assertGreater(len(self.double.calls), 28)
        result.cancel()
        self.failureResultOf(result)

    def test_error_and_gone_are_ends(self) -> None:
        self.goes_through(("ERROR", "no room"))
        self.assertEqual(self.successResultOf(self.wait())["status"], "ERROR")
        self.goes_through(None)
        self.assertIsNone(self.successResultOf(self.wait()))
        self.assertEqual([text for _, text in self.told], ["ERROR: no room", "gone"])

    def test_down_is_no_end(self) -> None:
        self.goes_through(("DOWN", "dead"), ("ACTIVE", ""))
        result = self.wait()
        self.assertNoResult(result)
        self.clock.advance(0.1)
        self.successResultOf(result)

    def test_a_manager_that_is_silent_for_a_while_is_asked_on(self) -> None:
        self.goes_through(("ACTIVE", ""))
        self.double.errors = [Transient("no answer"), Unavailable("the database is busy")]
        result = self.wait()
        self.clock.pump([0.1] * 10)
        self.successResultOf(result)
        self.assertIn("no answer", self.told[0][1])
        self.assertEqual(self.told[-1][1], "ACTIVE")

    def test_the_time_is_up_with_the_last_news(self) -> None:
        self.goes_through(("PENDING_CREATE", "no agent"))
        result = self.wait(timeout=3.0)
        self.clock.pump([0.1] * 40)
        failure = self.failureResultOf(result, NotSettled)
        self.assertIn("within 3 s: PENDING_CREATE: no agent", str(failure.value))
        self.assertEqual(self.clock.getDelayedCalls(), [])
