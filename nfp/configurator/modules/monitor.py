"""Watches one device: probes it again and again, and tells its verdict and each change of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from nfp.model.errors import NfpError
from nfp.model.states import Health

Probe = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Pace:
    """How a device is watched; times in seconds.

    :ivar fall: failed probes in a row that make it DOWN.
    :ivar rise: good probes in a row that make it UP.
    :ivar level: how deep a probe looks.
    """

    interval: float
    timeout: float
    fall: int
    rise: int
    level: str

    @classmethod
    def of(cls, monitor: Mapping[str, Any]) -> Pace:
        """Read a checked ``monitor`` object off the wire."""
        return cls(
            monitor["interval"], monitor["timeout"], monitor["fall"], monitor["rise"], monitor["level"]
        )


@dataclass(frozen=True)
class Verdict:
    """What the monitor holds of the device.

    :ivar since: ISO 8601 time of the change, UTC.
    :ivar reason: what the last failed probe said; empty for UP.
    """

    status: Health
    since: str
    reason: str


class Monitor:
    """Probes a device at a steady pace; a probe that is late delays the next, never overlaps it.

    :param clock: its time.
    :param probe: asks the device; raises when it is not well.
    :param tell: gets the first verdict as soon as there is one, then every change.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, probe: Probe, pace: Pace, tell: Callable[[Verdict], None]
    ) -> None:
        self._clock = clock
        self._probe = probe
        self._pace = pace
        self._tell = tell
        self._good = self._bad = 0
        self._running: Deferred[None] | None = None
        self._loop = LoopingCall(self._once)
        self._loop.clock = clock
        self.verdict: Verdict | None = None

    def start(self) -> None:
        """Probe now, and then at each interval."""
        _ = self._loop.start(self._pace.interval, now=True)

    def stop(self) -> None:
        """Probe no more, and tell nothing more."""
        if self._loop.running:
            self._loop.stop()
        if self._running is not None:
            self._running.cancel()

    def _once(self) -> Deferred[None]:
        self._running = Deferred.fromCoroutine(self._ask())
        return self._running

    async def _ask(self) -> None:
        try:
            reason = await self._complaint()
        except CancelledError:
            # By stop(), or by the driver: then it is an answer like any other.
            reason = "the probe was cancelled"
        finally:
            self._running = None
        if self._loop.running:
            self._judge(reason)

    async def _complaint(self) -> str | None:
        """Probe once; ``None`` when the device is well."""

        async def probe() -> None:
            await self._probe()

        asking: Deferred[None] = Deferred.fromCoroutine(probe())
        try:
            await asking.addTimeout(self._pace.timeout, self._clock)
        except defer.TimeoutError:
            return f"no answer within {self._pace.timeout:g} s"
        except NfpError as error:
            return str(error)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever a driver raises, the device is not known to be well
            self.log.failure("a probe failed unexpectedly")
            return f"unexpected {type(error).__name__}: {error}"
        return None

    def _judge(self, reason: str | None) -> None:
        if reason is None:
            self._good, self._bad = self._good + 1, 0
        else:
            self._good, self._bad = 0, self._bad + 1
        held = self.verdict.status if self.verdict else None
        if reason is None and self._good >= self._pace.rise and held is not Health.UP:
            self._decide(Health.UP, "")
        elif reason is not None and self._bad >= self._pace.fall and held is not Health.DOWN:
            self._decide(Health.DOWN, reason)

    def _decide(self, status: Health, reason: str) -> None:
        since = datetime.fromtimestamp(self._clock.seconds(), UTC).isoformat(timespec="milliseconds")
        self.verdict = Verdict(status, since, reason)
        self._tell(self.verdict)
