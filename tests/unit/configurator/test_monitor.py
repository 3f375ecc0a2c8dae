"""Tests for a device's monitor against a model of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.configurator.modules.monitor import Monitor, Pace, Verdict
from nfp.model.errors import Transient


def expected(answers: list[bool], fall: int, rise: int) -> list[str]:
    """What is told: a run of good or bad answers that is long enough, when it is news."""
    told: list[str] = []
    for end in range(1, len(answers) + 1):
        if answers[:end][-rise:] == [True] * rise and told[-1:] != ["UP"]:
            told.append("UP")
        if answers[:end][-fall:] == [False] * fall and told[-1:] != ["DOWN"]:
            told.append("DOWN")
    return told


class Monitoring(SynchronousTestCase):
    def watch(self, answers: list[bool | Exception], fall: int = 1, rise: int = 1) -> list[Verdict]:
        clock, told, left = Clock(), [], list(answers)

        async def probe() -> None:
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            if not answer:
                raise Transient("not well")

        monitor = Monitor(clock, probe, Pace(1, 1, fall, rise, "management"), told.append)
        monitor.start()
        clock.pump([1] * (len(answers) - 1))
        self.assertEqual(left, [])
        monitor.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
        return told

    @given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 4))
    def test_a_verdict_is_told_when_it_is_news(self, answers: list[bool], fall: int, rise: int) -> None:
        told = self.watch(list(answers), fall, rise)
        self.assertEqual([verdict.status.value for verdict in told], expected(answers, fall, rise))

    def test_whatever_a_driver_raises_counts_as_not_well_and_the_watch_goes_on(self) -> None:
        told = self.watch([ValueError("a bug"), True, CancelledError(), True])
        self.assertEqual([verdict.status.value for verdict in told], ["DOWN", "UP", "DOWN", "UP"])
        self.assertIn("a bug", told[0].reason)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
