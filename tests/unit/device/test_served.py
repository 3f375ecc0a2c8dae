"""The memory of orders, and what is kept on disk."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.device.served import admit
from nfp.device.store import DeviceState, ServiceState, Store, check_id, decode, encode
from nfp.model.errors import Invalid, Stale
from nfp.model.order import Order

ORDERS = st.builds(Order, st.integers(0, 9), st.integers(0, 9))


class OrderMemoryTests(SynchronousTestCase):
    def test_I5_a_lower_order_is_stale(self) -> None:
        for lower in (Order(2, 4), Order(1, 9)):
            with self.assertRaises(Stale, msg=str(lower)):
                admit(Order(2, 5), lower)

    def test_equal_and_higher_orders_pass(self) -> None:
        for order in (Order(2, 5), Order(2, 6), Order(3, 0)):
            self.assertEqual(admit(Order(2, 5), order), order)
        self.assertEqual(admit(None, Order(0, 0)), Order(0, 0))

    @given(st.lists(ORDERS))
    def test_I5_what_is_admitted_never_falls(self, orders: list[Order]) -> None:
        highest: Order | None = None
        admitted = []
        for order in orders:
            try:
                highest = admit(highest, order)
            except Stale:
                continue
            admitted.append(order)
        self.assertEqual(admitted, sorted(admitted))
        if orders:
            self.assertEqual(highest, max(orders))


class StoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.store = Store(str(self.directory))
        self.state = DeviceState("dev-1", "ns", "fd00::1", 9444, order=Order(2, 3), tree={"routes": []})
        self.state.services["a"] = ServiceState("firewall", {"firewall": {}}, "d" * 64, None, 1)

    def test_what_was_written_is_loaded(self) -> None:
        self.store.write(self.state)
        self.assertEqual(Store(str(self.directory)).load(), [self.state])
        self.assertIsInstance(Store(str(self.directory)).load()[0].order, Order)

    def test_only_the_owner_can_read(self) -> None:
        self.store.write(self.state)
        self.assertEqual((self.directory / "dev-1.json").stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.directory.stat().st_mode & 0o777, 0o700)

    def test_a_removed_device_is_not_loaded_and_may_be_removed_again(self) -> None:
        self.store.write(self.state)
        self.store.remove("dev-1")
        self.store.remove("dev-1")
        self.assertEqual(self.store.load(), [])

    def test_half_written_and_foreign_files_do_not_stop_the_others(self) -> None:
        self.store.write(self.state)
        (self.directory / "other.new").write_text("{")
        for number, text in enumerate(("{", "[]", '{"services": {}}', '{"services": {"a": {"x": 1}}}')):
            (self.directory / f"bad{number}.json").write_text(text)
        self.assertEqual(self.store.load(), [self.state])
        self.assertEqual(len(list(self.directory.iterdir())), 6)

    def test_ids_that_are_no_file_names_are_refused(self) -> None:
        for bad in ("", "..", "a/b", "-a", "x" * 65, "a\n"):
            with self.assertRaises(Invalid, msg=repr(bad)):
                check_id(bad)

    def test_a_new_device_begins_with_some_generation(self) -> None:
        found = {DeviceState("a", "b", "c", 1).generation for _ in range(64)}
        self.assertGreater(len(found), 1)
        self.assertTrue(all(1 <= one <= 0xFFFF for one in found))

    def test_encoding_is_read_back(self) -> None:
        self.state.order = None
        self.assertEqual(decode(encode(self.state)), self.state)
