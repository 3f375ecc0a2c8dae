"""Tests for what the listener remembers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.configurator.memory import Memory
from nfp.model.errors import Stale
from nfp.model.order import Order

orders = st.builds(Order, st.integers(0, 3), st.integers(0, 3))


class Orders(SynchronousTestCase):
    def test_I5_a_lower_order_is_refused_and_an_equal_one_taken(self) -> None:
        memory = Memory()
        memory.check("d", Order(2, 5))
        memory.saw("d", Order(2, 5))
        memory.check("d", Order(2, 5))
        memory.check("d", Order(3, 0))
        memory.check("other", Order(0, 0))
        for low in (Order(2, 4), Order(1, 9)):
            with self.assertRaises(Stale) as caught:
                memory.check("d", low)
            self.assertEqual(caught.exception.field, "info.context.order")

    @given(st.lists(orders))
    def test_I5_what_is_taken_never_goes_down(self, given: list[Order]) -> None:
        memory, taken = Memory(), []
        for order in given:
            try:
                memory.check("d", order)
            except Stale:
                continue
            memory.saw("d", order)
            taken.append(order)
        self.assertEqual(taken, sorted(taken))
        self.assertEqual(taken[-1:], [max(given)] if given else [])

    def test_the_devices_not_heard_of_for_longest_are_forgotten(self) -> None:
        memory = Memory(limit=2)
        for device in ("a", "b", "a", "c"):
            memory.saw(device, Order(5, 5))
        memory.check("b", Order(0, 0))
        for device in ("a", "c"):
            self.assertRaises(Stale, memory.check, device, Order(0, 0))


class Monitors(SynchronousTestCase):
    def test_the_last_monitor_of_each_device_is_kept(self) -> None:
        memory = Memory()
        memory.watch("a", {"n": 1})
        memory.watch("b", {"n": 2})
        memory.watch("a", {"n": 3})
        self.assertEqual(memory.monitors(lambda nsd_id: nsd_id == "a"), [{"n": 3}])
        self.assertEqual(memory.monitored, 2)

    def test_a_monitor_that_was_removed_is_forgotten(self) -> None:
        memory = Memory()
        memory.watch("a", {})
        memory.unwatch("a")
        memory.unwatch("a")
        self.assertEqual(memory.monitors(lambda nsd_id: True), [])
