"""Messages and frames."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Invalid, Stale
from nfp.process import wire

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class WireTests(SynchronousTestCase):
    """One end and the other."""

    def setUp(self) -> None:
        """An end that has a transport."""
        self.clock = Clock()
        self.received: list[list[Any]] = []
        self.lost: list[bool] = []
        self.end = wire.Wire(self.clock, self.received.append, lambda: self.lost.append(True))  # type: ignore[arg-type]
        self.transport = StringTransport()
        self.end.makeConnection(self.transport)

    def test_one_turn_is_one_write(self) -> None:
        for n in range(3):
            self.end.send(wire.encode(wire.WAKE, f"key:{n}"))
        self.assertEqual(self.transport.value(), b"")
        self.clock.advance(0)
        frame = b'[["wake","key:0"],["wake","key:1"],["wake","key:2"]]'
        self.assertEqual(self.transport.value(), len(frame).to_bytes(4, "big") + frame)
        self.end.dataReceived(self.transport.value())
        self.assertEqual(self.received, [["wake", "key:0"], ["wake", "key:1"], ["wake", "key:2"]])

    def test_a_large_batch_does_not_wait_for_the_end_of_the_turn(self) -> None:
        self.end.send(wire.encode(wire.EMIT, "x", "y" * wire.BATCH))
        self.assertGreater(len(self.transport.value()), wire.BATCH)
        self.clock.advance(0)
        self.end.dataReceived(self.transport.value())
        self.assertEqual(len(self.received), 1)

    @given(st.lists(JSON, max_size=5), st.integers(1, 50))
    def test_whatever_is_json_comes_through_in_whatever_pieces(self, values: list[Any], size: int) -> None:
        self.setUp()
        for value in values:
            self.end.send(wire.encode("x", value))
        self.clock.advance(0)
        data = self.transport.value()
        for start in range(0, len(data), size):
            self.end.dataReceived(data[start : start + size])
        self.assertEqual(self.received, [["x", value] for value in values])

    def test_what_is_no_json_is_refused_with_the_sender(self) -> None:
        self.assertRaises(Invalid, wire.encode, "x", object())
        self.assertRaises(Invalid, wire.encode, "x", {("a", 1): 2})
        circle: list[object] = []
        circle.append(circle)
        self.assertRaises(Invalid, wire.encode, "x", circle)

    def test_one_bad_message_does_not_cost_those_behind_it(self) -> None:
        def received(message: list[Any]) -> None:
            if message[0] == "bad":
                raise KeyError("bad")
            self.received.append(message)

        end = wire.Wire(self.clock, received, lambda: None)  # type: ignore[arg-type]
        end.makeConnection(self.transport)
        frame = b'[["bad"],["good"]]'
        end.dataReceived(len(frame).to_bytes(4, "big") + frame)
        self.assertEqual(self.received, [["good"]])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_frame_beyond_the_limit_ends_the_connection(self) -> None:
        self.end.dataReceived(b"\xff\xff\xff\xff")
        self.assertTrue(self.transport.disconnecting)

    def test_an_error_of_ours_is_written_whole_any_other_without_its_detail(self) -> None:
        log = Logger(namespace="t", observer=lambda event: None)  # type: ignore[arg-type]
        self.assertEqual(
            wire.failure(3, Stale("old", field="order"), log, "apply"),
            wire.encode(wire.FAILURE, 3, "Stale", "old", "order"),
        )
        self.assertNotIn(b"secret", wire.failure(3, ValueError("secret"), log, "apply"))
