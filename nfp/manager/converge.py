"""The loop that makes what is equal to what is wanted, one step at a time (``design.md`` section 3).

Snapshot → plan → one step → record its outcome → plan again, under a lease, until the object is
settled or has to wait.  It gives the lease back only at the revision that it has seen (I4).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nfp.daemon import journal
from nfp.manager.plan.decisions import Decision, Step, Wait, backoff, cleared
from nfp.manager.store import history, leases, rows
from nfp.manager.store.engine import Store
from nfp.manager.store.outcome import Outcome, Recording
from nfp.model.errors import NfpError, Permanent
from nfp.process.interfaces import RunAgain, Settled

V = TypeVar("V")

MAX_STEPS = 200
"""Steps in one run; more means that two rules disagree, and the object steps aside for a second."""


class IKind(Protocol[V]):
    """A kind of converged object: services, devices."""

    prefix: str
    table: Any

    def read(self, connection: sa.Connection, object_id: str) -> V | None:
        """Read the object's snapshot and what its steps need."""
        ...

    def row(self, view: V) -> dict[str, Any]:
        """The object's row in a view."""
        ...

    def decide(self, view: V, now: float) -> Decision:
        """Ask the planner."""
        ...

    async def perform(self, step: Step, view: V, fence: int) -> Recording:
        """Do *step* in the world; gives what is to be recorded.

        :raises NfpError: ``Permanent`` ends it; all others are tried again with backoff.
        """
        ...

    def describe(self, row: dict[str, Any], decision: Decision) -> dict[str, Any]:
        """Columns to set when the decision's status is not the stored one; empty: no change."""
        ...

    def announce(self, connection: sa.Connection, row: dict[str, Any], changed: dict[str, Any]) -> list[str]:
        """Tell other objects, in the same transaction, that these columns changed; gives keys to wake."""
        ...


class LeaseLost(Exception):
    """Another owner took the object over; whatever was done carries a lower order and is refused."""


class Converger(Generic[V]):
    """Runs keys of one kind.

    :param owner: names this worker in leases.
    :param seconds: how long a lease lasts; each recording renews it.
    :param wake: runs another key.
    """

    _log = Logger()

    def __init__(
        self,
        kind: IKind[V],
        store: Store,
        clock: IReactorTime,
        owner: str,
        seconds: float,
        wake: Callable[[str], None],
        rng: random.Random,
    ) -> None:
        self._kind = kind
        self._store = store
        self._clock = clock
        self._owner = owner
        self._seconds = seconds
        self._wake = wake
        self._rng = rng

    async def run(self, key: str) -> Settled | RunAgain:
        """Converge the object that *key* names until it is settled or has to wait."""
        object_id = key.partition(":")[2]
        begun = await self._store.write(self._begin, object_id)
        if begun is None:
            return Settled()
        fence, view = begun
        if view is None or fence is None:
            return RunAgain(self._seconds)
        try:
            with journal.bind(self._kind.row(view)["request_id"]):
                return await self._loop(object_id, fence, view)
        except LeaseLost:
            self._log.warn("lease of {key} lost", key=key)
            return RunAgain(self._seconds)

    async def _loop(self, object_id: str, fence: int, view: V) -> Settled | RunAgain:
        for _ in range(MAX_STEPS):
            decision = self._kind.decide(view, self._clock.seconds())
            changed = self._kind.describe(self._kind.row(view), decision)
            recording: Recording | None = None
            if not isinstance(decision.action, Step):
                if not changed:
                    ended = await self._release(object_id, fence, view, decision)
                    if ended is not None:
                        return ended
            elif not changed or not _reports(decision.action):
                recording = await self._perform(decision.action, view, fence)
            after = await self._record(object_id, fence, decision, recording)
            if after is None:
                return Settled()
            view = after
        self._log.error("{object_id} does not settle", object_id=object_id)
        await self._store.write(leases.renew, self._kind.table, object_id, fence, 0.0)
        return RunAgain(1.0)

    async def _release(
        self, object_id: str, fence: int, view: V, decision: Decision
    ) -> Settled | RunAgain | None:
        action = decision.action
        until = action.until if isinstance(action, Wait) else getattr(action, "look_again", None)
        reason = action.reason if isinstance(action, Wait) else None
        values = {"wake_at": until, "waiting_for": reason}
        seen = self._kind.row(view)["revision"]
        given = await self._store.write(leases.release, self._kind.table, object_id, fence, seen, values)
        if not given:
            return None
        if until is None:
            return Settled()
        return RunAgain(max(0.0, until - self._clock.seconds()))

    async def _perform(self, step: Step, view: V, fence: int) -> Recording:
        try:
            recording = await self._kind.perform(step, view, fence)
        except CancelledError:
            raise
        except Permanent as error:
            return _failing(step, str(error))
        except NfpError as error:
            return self._retrying(step, str(error))
        except Exception as error:  # noqa: BLE001  (a driver's mistake must not stop the others)
            self._log.failure("step {step} failed", step=step.name)
            return self._retrying(step, f"internal error: {type(error).__name__}")

        def done(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
            outcome = recording(connection, row)
            history.add(connection, row["id"], step.name, outcome.note)
            if step.name in row["attempts"]:
                outcome.values.setdefault("attempts", cleared(row["attempts"], step.name))
            return outcome

        return done

    def _retrying(self, step: Step, reason: str) -> Recording:
        def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
            attempts = backoff(row["attempts"], step.name, reason, self._clock.seconds(), self._rng)
            count = attempts[step.name]["count"]
            history.add(connection, row["id"], f"{step.name} failed", f"try {count}: {reason}")
            return Outcome({"attempts": attempts})

        return record

    def _begin(self, connection: sa.Connection, object_id: str) -> tuple[int | None, V | None] | None:
        fence = leases.take(connection, self._kind.table, object_id, self._owner, self._seconds)
        view = self._kind.read(connection, object_id)
        if view is None:
            return None
        return fence, view

    async def _record(
        self, object_id: str, fence: int, decision: Decision, recording: Recording | None
    ) -> V | None:
        view, wake = await self._store.write(self._recorded, object_id, fence, decision, recording)
        for key in wake:
            self._wake(key)
        return view

    def _recorded(
        self,
        connection: sa.Connection,
        object_id: str,
        fence: int,
        decision: Decision,
        recording: Recording | None,
    ) -> tuple[V | None, list[str]]:
        table = self._kind.table
        row = rows.first(connection, sa.select(table).where(table.c.id == object_id).with_for_update())
        if row is None:
            return None, []
        if row["fence"] != fence or row["lease_owner"] != self._owner:
            raise LeaseLost(object_id)
        values = self._kind.describe(row, decision)
        wake: list[str] = []
        if recording is not None:
            outcome = recording(connection, row)
            wake.extend(outcome.wake)
            if outcome.gone:
                return None, wake
            values.update(outcome.values)
            values["revision"] = table.c.revision + 1
        wake.extend(self._kind.announce(connection, row, values))
        values["updated_at"] = self._clock.seconds()
        connection.execute(sa.update(table).where(table.c.id == object_id).values(**values))
        leases.renew(connection, table, object_id, fence, self._seconds)
        return self._kind.read(connection, object_id), wake


def _reports(step: Step) -> bool:
    """Whether a step tells a status, which must be stored before it is told."""
    return hasattr(step, "status")


def _failing(step: Step, reason: str) -> Recording:
    def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
        history.add(connection, row["id"], f"{step.name} failed for good", reason)
        return Outcome({"failure": reason, "attempts": cleared(row["attempts"], step.name)})

    return record
