"""Registers commute (I7)."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.registers import Stamp, merge

WRITES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["name", "config", "provider"]), st.integers(0, 3), min_size=1),
        st.integers(0, 3).map(lambda number: f"2026-01-01 00:00:0{number}"),
    ),
    min_size=1,
    max_size=4,
)


def _apply(writes: list[tuple[dict[str, int], Stamp]]) -> tuple[object, object]:
    values: dict[str, object] = {}
    stamps: dict[str, list[str]] = {}
    for fields, stamp in writes:
        merged = merge(values, stamps, fields, stamp)
        values, stamps = merged.values, merged.stamps
    return values, stamps


class RegistersTests(SynchronousTestCase):
    @given(WRITES)
    def test_I7_any_order_of_the_same_writes_gives_the_same_state(
        self, writes: list[tuple[dict[str, int], str]]
    ) -> None:
        stamped = [(fields, Stamp.of(time, f"id-{index}")) for index, (fields, time) in enumerate(writes)]
        ends = [_apply(list(order)) for order in itertools.permutations(stamped)]
        self.assertEqual([ends[0]] * len(ends), ends)

    @given(WRITES)
    def test_I7_a_repeated_write_changes_nothing(self, writes: list[tuple[dict[str, int], str]]) -> None:
        stamped = [(fields, Stamp.of(time, f"id-{index}")) for index, (fields, time) in enumerate(writes)]
        self.assertEqual(_apply(stamped), _apply([*stamped, *stamped]))

    def test_an_older_write_is_overtaken_field_by_field(self) -> None:
        first = merge({}, {}, {"name": "b"}, Stamp.of("2026-01-02 00:00:00", "x"))
        late = merge(
            first.values, first.stamps, {"name": "a", "config": 1}, Stamp.of("2026-01-01 00:00:00", "y")
        )
        self.assertEqual({"name": "b", "config": 1}, late.values)
        self.assertEqual({"name"}, late.overtaken)
        self.assertEqual({"config"}, late.changed)

    def test_a_tie_goes_to_the_larger_message_id(self) -> None:
        now = "2026-01-01 00:00:00"
        first = merge({}, {}, {"name": "of b"}, Stamp.of(now, "b"))
        self.assertEqual(
            "of b", merge(first.values, first.stamps, {"name": "of a"}, Stamp.of(now, "a")).values["name"]
        )
        self.assertEqual(
            "of c", merge(first.values, first.stamps, {"name": "of c"}, Stamp.of(now, "c")).values["name"]
        )

    def test_both_forms_of_iso_times_compare_alike(self) -> None:
        self.assertEqual(Stamp.of("2026-01-01 00:00:00.5", "a"), Stamp.of("2026-01-01T00:00:00.5Z", "a"))
