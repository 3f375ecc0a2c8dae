"""Who is struck when a worker dies: the module's table, row by row, and what holds always."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.process.suspects import Ledger, Running, Verdict, alone_next, died, finished

A, B, C = Running("a"), Running("b"), Running("c")
ON_BEHALF = Running("n", nested=True)


class TableTests(SynchronousTestCase):
    """One test a row."""

    def test_nothing_was_running(self) -> None:
        ledger = Ledger(("x",), {"x": 1})
        self.assertEqual(died(ledger, []), Verdict(ledger))

    def test_one_was_running(self) -> None:
        verdict = died(Ledger(("x", "y")), [A])
        self.assertEqual(verdict, Verdict(Ledger(("x", "y", "a"), {"a": 1}), "a"))

    def test_one_was_running_for_the_last_time(self) -> None:
        verdict = died(Ledger(("a", "x"), {"a": 2, "x": 1}), [A])
        self.assertEqual(verdict, Verdict(Ledger(("x",), {"x": 1}), "a", out=True))

    def test_one_was_running_and_what_it_submitted(self) -> None:
        verdict = died(Ledger(), [A, ON_BEHALF])
        self.assertEqual(verdict, Verdict(Ledger(("n", "a"), {"a": 1}), "a"))

    def test_only_what_another_lane_submitted_was_running(self) -> None:
        self.assertEqual(died(Ledger(), [ON_BEHALF]), Verdict(Ledger(("n",), {"n": 1}), "n"))

    def test_several_were_running(self) -> None:
        verdict = died(Ledger(("x",), {"x": 2}), [A, B, C])
        self.assertEqual(verdict, Verdict(Ledger(("x", "a", "b", "c"), {"x": 2})))

    def test_a_suspect_that_finishes_is_cleared_and_its_strikes_forgotten(self) -> None:
        self.assertEqual(finished(Ledger(("a", "x"), {"a": 2, "x": 1}), "a"), Ledger(("x",), {"x": 1}))
        self.assertEqual(finished(Ledger(("x",)), "other"), Ledger(("x",)))

    def test_suspects_run_one_at_a_time(self) -> None:
        self.assertEqual(alone_next(Ledger(("a", "b")), []), "a")
        self.assertIsNone(alone_next(Ledger(("a", "b")), [A]))
        self.assertIsNone(alone_next(Ledger(), []))


class AlwaysTests(SynchronousTestCase):
    """Whoever is poison is found, and nobody else."""

    @given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30)), st.integers(1, 4))
    def test_exactly_the_poison_is_taken_out(self, tasks: set[int], poison: set[int], limit: int) -> None:
        poison &= tasks
        verdict = died(Ledger(), [Running(task) for task in sorted(tasks)], limit) if poison else None
        out: list[object] = []
        deaths = 1
        while verdict is not None:
            ledger = verdict.ledger
            if verdict.out:
                out.append(verdict.struck)
            verdict = None
            while (task := alone_next(ledger, [])) is not None:
                if task in poison:
                    deaths += 1
                    verdict = died(ledger, [Running(task)], limit)
                    break
                ledger = finished(ledger, task)
            if verdict is None:
                self.assertEqual(ledger, Ledger())
        self.assertEqual(set(out), poison)
        self.assertLessEqual(deaths, 1 + limit * len(poison))
