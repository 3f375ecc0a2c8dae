"""Whose turn it is in a lane with much to do: events first, and keys soon all the same.

A key that is looked at between two bursts of events would be looked at again after the next one.  So
keys wait until the events have stopped pressing, each of them a bounded time.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nfp.process.tasks import Limits


class Precedence:
    """Says how many keys may start.

    :param clock: measures how long the events have been quiet, and the keys patient.
    :param ask_again: called when more keys may start than were let through when last asked.
    """

    def __init__(self, clock: IReactorTime, limits: Limits, ask_again: Callable[[], None]) -> None:
        self._clock = clock
        self._limits = limits
        self._ask_again = ask_again
        self._quiet_at = 0.0
        self._patient_until: float | None = None
        self._through = 0
        self._timer: IDelayedCall | None = None

    def events(self, count: int) -> None:
        """So many events are in hand."""
        if count >= self._limits.backlog:
            self._quiet_at = self._clock.seconds() + self._limits.quiet

    def started(self) -> None:
        """A key was started."""
        if self._through:
            self._through -= 1

    def keys(self, waiting: int) -> int:
        """How many of the first *waiting* keys may start now."""
        if not waiting:
            self.forget()
            return 0
        if not self._quiet_at:
            return waiting
        if self._through:
            return min(self._through, waiting)
        now = self._clock.seconds()
        if now >= self._quiet_at:
            self.forget()
            self._quiet_at = 0.0
            return waiting
        if self._patient_until is None:
            self._patient_until = now + self._limits.patience
        if now >= self._patient_until:
            self.forget()
            self._through = waiting
            return waiting
        if self._timer is None:
            self._timer = self._clock.callLater(min(self._quiet_at, self._patient_until) - now, self._look)
        return 0

    def forget(self) -> None:
        """No key waits any more."""
        self._patient_until = None
        self._through = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        self._ask_again()
