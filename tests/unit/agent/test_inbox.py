"""What is fetched and what is stored may cross: the inbox against every order of the two."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from nfp.agent.inbox import Inbox


def told(*sequences: int) -> list[dict[str, object]]:
    return [{"sequence": number} for number in sequences]


def held(inbox: Inbox) -> list[object]:
    notifications = inbox.answer()["notifications"]
    assert isinstance(notifications, list)
    return [one["sequence"] for one in notifications]


class InboxTests(SynchronousTestCase):
    def test_a_poll_that_was_under_way_brings_nothing_back_that_is_stored(self) -> None:
        inbox = Inbox()
        inbox.fetched("b", told(1, 2))
        inbox.acknowledge("b", 2)
        self.assertTrue(inbox.fetched("b", told(1, 2, 3)))
        self.assertEqual(held(inbox), [3])

    def test_the_same_again_is_no_news(self) -> None:
        inbox = Inbox()
        self.assertTrue(inbox.fetched("b", told(1, 2)))
        self.assertFalse(inbox.fetched("b", told(1, 2)))
        self.assertTrue(inbox.fetched("b", told(2, 3)))
        self.assertEqual(held(inbox), [2, 3])

    def test_next_is_what_to_acknowledge(self) -> None:
        inbox = Inbox()
        self.assertEqual(inbox.answer(), {"boot_id": None, "notifications": [], "next": 0})
        inbox.fetched("b", told(4, 6))
        self.assertEqual(inbox.answer()["next"], 6)
        inbox.acknowledge("b", 6)
        self.assertEqual(inbox.answer(), {"boot_id": "b", "notifications": [], "next": 6})

    @given(
        some.lists(
            some.one_of(
                some.tuples(some.just("tell"), some.just(0)),
                some.tuples(some.just("poll"), some.just(0)),
                some.tuples(some.just("ask"), some.just(0)),
                some.tuples(some.just("store"), some.integers(0, 12)),
                some.tuples(some.just("restart"), some.just(0)),
            ),
            max_size=40,
        )
    )
    def test_I6_nothing_is_dropped_before_it_is_stored(self, steps: list[tuple[str, int]]) -> None:
        """An outbox, this inbox, agents that are restarted, a manager that stores some of what it hears."""
        outbox: dict[int, dict[str, object]] = {}
        inbox, last, heard, stored = Inbox(), 0, set[int](), set[int]()
        for step, number in steps:
            if step == "tell":
                last += 1
                outbox[last] = {"sequence": last}
            elif step == "poll":
                after = inbox.acknowledged if inbox.boot_id == "b" else 0
                outbox = {one: what for one, what in outbox.items() if one > after}
                inbox.fetched("b", list(outbox.values()))
            elif step == "ask":
                heard |= set(held(inbox))  # type: ignore[arg-type]
            elif step == "restart":
                inbox = Inbox()
            else:
                upto = max((one for one in heard if one <= number), default=0)
                stored |= {one for one in heard if one <= upto}
                if stored:
                    inbox.acknowledge("b", max(stored))
            lost = set(range(1, last + 1)) - stored - set(outbox)
            self.assertEqual(lost, set())
        after = max(stored, default=0)
        inbox.acknowledge("b", after)
        inbox.fetched("b", [what for one, what in outbox.items() if one > inbox.acknowledged])
        self.assertEqual(held(inbox), [one for one in range(1, last + 1) if one not in stored])
