"""Background work is named, logged, awaited."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon.inflight import InFlight


class InFlightTests(SynchronousTestCase):
    """What :class:`InFlight` keeps."""

    def setUp(self) -> None:
        """Keep the log."""
        self.events: list[LogEvent] = []
        self.inflight = InFlight(Logger(namespace="t", observer=self.events.append))  # type: ignore[arg-type]
        self.clock = Clock()

    async def wait(self, gate: Deferred[int]) -> int:
        """Work that ends with its gate."""
        return await gate

    def test_work_is_known_by_name_until_it_ends(self) -> None:
        gate: Deferred[int] = Deferred()
        work = self.inflight.start("sweep", self.wait(gate))
        self.assertEqual((self.inflight.names, len(self.inflight)), (["sweep"], 1))
        gate.callback(3)
        self.assertEqual((self.successResultOf(work), self.inflight.names), (3, []))

    def test_a_failure_is_logged_once_and_goes_no_further(self) -> None:
        gate: Deferred[int] = Deferred()
        work = self.inflight.start("sweep", self.wait(gate))
        gate.errback(ValueError("x"))
        self.assertIsNone(self.successResultOf(work))
        [event] = self.events
        self.assertEqual((event["work"], event["log_failure"].type), ("sweep", ValueError))

    def test_draining_waits_also_for_what_is_started_meanwhile(self) -> None:
        first, second = Deferred[int](), Deferred[int]()

        async def chain() -> None:
            await first
            self.inflight.start("second", self.wait(second))

        self.inflight.start("first", chain())
        drained = self.inflight.drain(self.clock, 10)
        first.callback(1)
        self.assertNoResult(drained)
        second.callback(2)
        self.assertIsNone(self.successResultOf(drained))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_does_not_end_in_time_is_named_and_cancelled(self) -> None:
        ended: list[str] = []

        async def stubborn() -> None:
            try:
                await Deferred[None]()
            except CancelledError:
                ended.append("cancelled")
                raise

        self.inflight.start("stubborn", stubborn())
        drained = self.inflight.drain(self.clock, 10)
        self.clock.advance(9.9)
        self.assertNoResult(drained)
        self.clock.advance(0.2)
        self.assertIsNone(self.successResultOf(drained))
        self.assertEqual((ended, len(self.inflight)), (["cancelled"], 0))
        self.assertEqual([event.get("names") for event in self.events], [["stubborn"]])

    def test_draining_nothing_is_done_at_once(self) -> None:
        self.assertIsNone(self.successResultOf(self.inflight.drain(self.clock, 10)))
