"""Whether a lane looks at keys while events press, and when."""

from __future__ import annotations

from nfp.process import wire
from nfp.process.tasks import Limits
from tests.unit.process.test_lane import LaneCase, event


class PrecedenceTests(LaneCase):
    """Three events are a backlog."""

    limits = Limits(events=2, keys=2, backlog=3, quiet=0.1, patience=1.0)

    def press(self, first: int = 0) -> None:
        """Have a backlog."""
        for n in range(first, first + 3):
            self.lane.submit(event(None, n))

    def test_a_few_events_keep_no_key_waiting(self) -> None:
        self.lane.submit(event(None, 0))
        self.lane.submit(event(None, 1))
        self.lane.wake("key:1")
        self.assertEqual(self.keys(), ["key:1"])

    def test_events_that_wait_for_one_of_their_key_are_no_backlog(self) -> None:
        for n in range(9):
            self.lane.submit(event("a", n))
        self.lane.wake("key:1")
        self.assertEqual(self.keys(), ["key:1"])

    def test_keys_wait_until_the_backlog_has_been_gone_for_a_moment(self) -> None:
        self.press()
        self.lane.wake("key:1")
        for n in range(3):
            self.answer(n)
        self.lane.wake("key:2")
        self.clock.advance(0.0625)
        self.assertEqual(self.keys(), [])
        self.clock.advance(0.0625)
        self.assertEqual(self.keys(), ["key:1", "key:2"])
        self.ran("key:1")
        self.lane.wake("key:3")
        self.assertEqual(self.keys(), ["key:1", "key:2", "key:3"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_each_burst_of_events_begins_the_moment_anew(self) -> None:
        self.press()
        self.lane.wake("key:1")
        self.clock.advance(0.0625)
        self.press(3)
        self.clock.advance(0.0625)
        self.assertEqual(self.keys(), [])
        self.clock.advance(0.0625)
        self.assertEqual(self.keys(), ["key:1"])

    def test_under_a_steady_load_no_key_waits_longer_than_its_patience(self) -> None:
        self.press()
        for number in range(5):
            self.lane.wake(f"key:{number}")
        n = 3
        for _ in range(15):
            self.clock.advance(0.0625)
            self.press(n)
            n += 3
        self.assertEqual(self.keys(), [])
        self.clock.advance(0.0625)
        self.assertEqual(self.keys(), ["key:0", "key:1"])
        self.lane.wake("key:late")
        for number in range(5):
            self.press(n)
            n += 3
            self.ran(f"key:{number}")
        self.assertEqual(self.keys(), [f"key:{number}" for number in range(5)])
        for _ in range(16):
            self.press(n)
            n += 3
            self.clock.advance(0.0625)
        self.assertEqual(self.keys()[5:], ["key:late"])

    def test_keys_that_waited_when_the_worker_died_run_in_the_next(self) -> None:
        self.press()
        for n in range(3):
            self.answer(n)
        self.lane.wake("key:1")
        self.lane.died("signal 9")
        self.clock.advance(1.0)
        self.assertEqual(self.keys(), [])
        self.start()
        self.assertEqual(self.keys(), ["key:1"])

    def test_a_lane_that_drains_leaves_no_timer(self) -> None:
        self.press()
        self.lane.wake("key:1")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.lane.drain()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1.0)
        self.assertEqual([m for m in self.told if m[0] == wire.RUN], [])
