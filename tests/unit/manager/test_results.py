"""What a configurator's result means (I8)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.plan.results import weigh
from nfp.manager.plan.told import Told

TOLD = Told(
    key="k2",
    about="W2",
    expects="D2",
    order=(3, 7),
    boot="b",
    deadline=50.0,
    applied="k1",
    applied_about="W1",
)


def result(**changes: Any) -> dict[str, Any]:
    return {
        "order": [3, 7],
        "digest": "D2",
        "outcome": "applied",
        "reason": "",
        "transient": False,
        **changes,
    }


class ResultsTests(SynchronousTestCase):
    def test_I8_the_digest_expected_settles_it(self) -> None:
        told = weigh(TOLD, result()).told
        self.assertEqual(("k2", "W2"), (told.applied, told.applied_about))

    def test_I8_the_digest_expected_settles_it_even_from_an_earlier_order(self) -> None:
        self.assertEqual("k2", weigh(TOLD, result(order=[3, 5])).told.applied)

    def test_I8_success_of_an_older_request_is_history(self) -> None:
        verdict = weigh(TOLD, result(order=[3, 5], digest="D1"))
        self.assertTrue(verdict.history)
        self.assertEqual(TOLD, verdict.told)

    def test_I8_a_device_that_reads_back_something_else_has_not_taken_it(self) -> None:
        told = weigh(TOLD, result(digest="D9")).told
        self.assertEqual(("k1", "k2"), (told.applied, told.refused))
        self.assertIn("reads back", told.refusal)

    def test_a_refusal_is_for_good_and_keeps_what_is_in_place(self) -> None:
        told = weigh(TOLD, result(outcome="refused", digest=None, reason="bad port")).told
        self.assertEqual(
            ("k1", "k2", "W2", "bad port"), (told.applied, told.refused, told.refused_about, told.refusal)
        )

    def test_a_transient_refusal_is_tried_again(self) -> None:
        verdict = weigh(TOLD, result(outcome="refused", digest=None, reason="away", transient=True))
        self.assertEqual("away", verdict.retry)
        self.assertEqual(0.0, verdict.told.deadline)
        self.assertIsNone(verdict.told.refused)

    def test_an_older_refusal_is_history(self) -> None:
        self.assertTrue(weigh(TOLD, result(outcome="refused", digest=None, order=[2, 9])).history)

    def test_reverted_is_for_good(self) -> None:
        told = weigh(TOLD, result(outcome="reverted", digest="D1", reason="lost management")).told
        self.assertEqual("k2", told.refused)
        self.assertIn("previous configuration", told.refusal)

    def test_a_good_result_forgives_an_earlier_refusal(self) -> None:
        refused = weigh(TOLD, result(outcome="refused", digest=None, reason="no")).told
        self.assertIsNone(weigh(refused, result()).told.refused)

    def test_a_result_for_something_never_told_is_history(self) -> None:
        self.assertTrue(weigh(Told(), result()).history)
