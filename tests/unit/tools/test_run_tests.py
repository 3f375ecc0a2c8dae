"""How the tests are counted: a failure must never look like success."""

from __future__ import annotations

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from tools import run_tests


class CountTests(SynchronousTestCase):
    """Trial's summary, and suites that end without one."""

    def test_a_good_suite(self) -> None:
        counts = run_tests.counts_of("PASSED (skips=2, successes=40)\n")
        self.assertEqual(run_tests.judged(counts, 0), (40, 0, 2))

    def test_a_bad_suite(self) -> None:
        counts = run_tests.counts_of("FAILED (skips=1, failures=2, errors=3, successes=4)")
        self.assertEqual(run_tests.judged(counts, 1), (4, 5, 1))

    def test_unexpected_success_is_a_failure_and_an_expected_failure_is_not(self) -> None:
        counts = run_tests.counts_of("PASSED (expectedFailures=1, unexpectedSuccesses=1, successes=1)")
        self.assertEqual(run_tests.judged(counts, 0), (2, 1, 0))

    def test_other_lines_are_no_summaries(self) -> None:
        for line in ("PASSED by", "test_PASSED (successes=1)", "Ran 3 tests in 1s", ""):
            self.assertIsNone(run_tests.counts_of(line))

    def test_a_suite_that_crashed_counts_as_a_failure(self) -> None:
        self.assertEqual(run_tests.judged(None, 0), (0, 1, 0))
        self.assertEqual(run_tests.judged(None, 1), (0, 1, 0))

    def test_a_bad_status_after_a_good_summary_counts_as_a_failure(self) -> None:
        self.assertEqual(run_tests.judged({"successes": 3}, 1), (3, 1, 0))


class MainTests(SynchronousTestCase):
    """The stages together."""

    def run_stages(self, **stages: tuple[int, int, int]) -> tuple[int, list[str]]:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(run_tests, "STAGES", {name: lambda found=found: found for name, found in stages.items()})
        return run_tests.main(list(stages)), out.getvalue().splitlines()

    def test_the_last_line_is_the_sum_and_the_status_tells_it_too(self) -> None:
        status, said = self.run_stages(lint=(1, 0, 0), unit=(40, 0, 2))
        self.assertEqual((status, said[-1]), (0, "41 passed, 0 failed"))

    def test_later_stages_run_after_a_failure_and_the_status_is_bad(self) -> None:
        status, said = self.run_stages(lint=(0, 1, 0), unit=(40, 3, 0))
        self.assertEqual((status, said[-1]), (1, "40 passed, 4 failed"))
