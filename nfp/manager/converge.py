"""The loop that makes what is equal to what is wanted, one step at a time (``design.md`` section 3).

Snapshot → plan → one step → record its outcome → plan again, under a lease, until the object is
settled or has to wait.  It gives the lease back only at the revision that it has seen (I4).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nfp.daemon import journal
from nfp.manager.kinds import IKind
from nfp.manager.plan.decisions import Decision, Step, Wait, backoff, cleared
from nfp.manager.store import history, leases, rows
from nfp.manager.store.engine import Store, Transaction
from nfp.manager.store.group_commit import GroupCommit
from nfp.manager.store.outcome import Intent, Outcome, Recording
from nfp.model.errors import NfpError, Permanent
from nfp.process.interfaces import RunAgain, Settled

T = TypeVar("T")
V = TypeVar("V")

MAX_STEPS = 200
"""Steps in one run; more means that two rules disagree, and the object steps aside for a second."""


class LeaseLost(Exception):
    """Another owner took the object over; whatever was done carries a lower order and is refused."""


class Converger(Generic[V]):
    """Runs keys of one kind.

    :param owner: names this worker in leases.
    :param seconds: how long a lease lasts; each recording renews it.
    :param wake: runs another key.
    :param group: shares the transactions that read, or that write the object's own row and no other.
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
        group: GroupCommit | None = None,
    ) -> None:
        self._kind = kind
        self._store = store
        self._clock = clock
        self._owner = owner
        self._seconds = seconds
        self._wake = wake
        self._rng = rng
        self._group = group

    async def run(self, key: str) -> Settled | RunAgain:
        """Converge the object that *key* names until it is settled or has to wait."""
        object_id = key.partition(":")[2]
        glimpse = await self._glimpse(object_id)
        if glimpse is None:
            return Settled()
        idle = await self._idle(object_id, glimpse)
        if idle is not None:
            return idle
        view = await self._write_own(object_id, self._begin, object_id)
        if view is None:
            return RunAgain(self._seconds)
        try:
            row = self._kind.row(view)
            with journal.bind(row["request_id"]):
                return await self._loop(object_id, row["fence"], view)
        except LeaseLost:
            self._log.warn("lease of {key} lost", key=key)
            return RunAgain(self._seconds)

    async def _glimpse(self, object_id: str) -> V | None:
        if self._group is None:
            return await self._store.read(self._kind.read, object_id)
        return await self._group.read(self._kind.read, object_id)

    async def _write_own(self, object_id: str, function: Transaction[T], *args: object) -> T:
        """Write the object's own row only, in one transaction with others; devices sort before services."""
        if self._group is None:
            return await self._store.write(function, *args)
        return await self._group.write(f"{self._kind.prefix}:{object_id}", function, *args)

    async def _idle(self, object_id: str, view: V) -> Settled | RunAgain | None:
        """Whether there is nothing to do, which needs no lease to be seen: most wakes are of that kind."""
        row, decision = self._kind.row(view), self._kind.decide(view, self._clock.seconds())
        if (
            row["lease_owner"] is not None
            or isinstance(decision.action, Step)
            or self._kind.describe(row, decision)
        ):
            return None
        settled = row["revision"] == row["converged_revision"]
        until = _until(decision)
        if not (settled and row["wake_at"] == until) and not await self._write_own(
            object_id, leases.settle, self._kind.table, object_id, row["revision"], _resting(decision)
        ):
            return RunAgain(0.0)
        return self._until(until)

    def _until(self, until: float | None) -> Settled | RunAgain:
        return Settled() if until is None else RunAgain(max(0.0, until - self._clock.seconds()))

    async def _loop(self, object_id: str, fence: int, view: V) -> Settled | RunAgain:
        for _ in range(MAX_STEPS):
            decision = self._kind.decide(view, self._clock.seconds())
            changed = self._kind.describe(self._kind.row(view), decision)
            after: V | None
            ended: Settled | RunAgain | None
            if not isinstance(decision.action, Step):
                after, ended = await self._release(object_id, fence, view, decision)
            elif changed and _reports(decision.action):
                after, ended = await self._record(object_id, fence, view, decision, None)
            else:
                after, ended = await self._step(object_id, fence, decision, decision.action, view)
            if after is None:
                return ended or Settled()
            view = after
        self._log.error("{object_id} does not settle", object_id=object_id)
        return RunAgain(1.0)

    async def _release(
        self, object_id: str, fence: int, view: V, decision: Decision
    ) -> tuple[V | None, Settled | RunAgain | None]:
        """Give the lease back (I4), or give the view that shows what has come meanwhile."""
        seen = self._kind.row(view)["revision"]
        after, wake = await self._store.write(self._released, object_id, fence, seen, decision)
        for key in wake:
            self._wake(key)
        if after is not None:
            return after, None
        return None, self._until(_until(decision))

    def _released(
        self, connection: sa.Connection, object_id: str, fence: int, seen: int, decision: Decision
    ) -> tuple[V | None, list[str]]:
        row = self._locked(connection, object_id, fence)
        if row is None:
            return None, []
        if row["revision"] != seen:
            return self._kind.read(connection, object_id), []
        return None, self._rest(connection, object_id, row, decision)

    def _locked(self, connection: sa.Connection, object_id: str, fence: int) -> dict[str, Any] | None:
        """The object's row, locked; ``None``: it is gone.

        :raises LeaseLost: the lease is another's.
        """
        row = rows.get(connection, self._kind.table, object_id, lock=True)
        if row is not None and (row["fence"] != fence or row["lease_owner"] != self._owner):
            raise LeaseLost(object_id)
        return row

    async def _step(
        self, object_id: str, fence: int, decision: Decision, step: Step, view: V
    ) -> tuple[V | None, Settled | RunAgain | None]:
        """Do one step and record it; as :meth:`_record`."""
        done = await self._attempt(step, view, lambda: self._kind.perform(step, view, fence))
        if not isinstance(done, Intent):
            assert done is not None, "a step that is no intent has an outcome"
            return await self._record(object_id, fence, view, decision, done)
        meant = self._good(step, done.record, ended=False)
        recorded, _ = await self._record(object_id, fence, view, decision, meant, rest=False)
        if recorded is None:
            return None, None
        correction = await self._attempt(step, recorded, done.effect, done.undo)
        if correction is None:
            return recorded, None
        return await self._record(object_id, fence, recorded, decision, correction)

    async def _attempt(
        self, step: Step, view: V, work: Callable[[], Awaitable[Any]], undo: Recording | None = None
    ) -> Any:
        """Do *work*, decided on *view*; what fails becomes a recording of the failure."""
        try:
            done = await work()
        except CancelledError:
            raise
        except Permanent as error:
            return self._failing(step, str(error), undo, self._kind.row(view)["revision"])
        except NfpError as error:
            return self._retrying(step, str(error), undo)
        except Exception as error:  # noqa: BLE001  (a driver's mistake must not stop the others)
            self._log.failure("step {step} failed", step=step.name)
            return self._retrying(step, f"internal error: {type(error).__name__}", undo)
        return done if done is None or isinstance(done, Intent) else self._good(step, done)

    def _good(self, step: Step, recording: Recording, *, ended: bool = True) -> Recording:
        """Record a step that went well; only one that has *ended* forgets its earlier failures."""

        def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
            outcome = recording(connection, row)
            history.add(connection, row["id"], step.name, outcome.note)
            if ended and step.name in row["attempts"]:
                outcome.values.setdefault("attempts", cleared(row["attempts"], step.name))
            return outcome

        return record

    def _retrying(self, step: Step, reason: str, undo: Recording | None) -> Recording:
        def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
            undone = undo(connection, row).values if undo is not None else {}
            attempts = backoff(row["attempts"], step.name, reason, self._clock.seconds(), self._rng)
            count = attempts[step.name]["count"]
            history.add(connection, row["id"], f"{step.name} failed", f"try {count}: {reason}")
            return Outcome({**undone, "attempts": attempts})

        return record

    def _failing(self, step: Step, reason: str, undo: Recording | None, seen: int) -> Recording:
        def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
            undone = undo(connection, row).values if undo is not None else {}
            history.add(connection, row["id"], f"{step.name} failed for good", reason)
            if row["revision"] != seen:  # it failed for what is not wanted any more, perhaps: look again
                return Outcome(undone)
            attempts = backoff(row["attempts"], step.name, reason, self._clock.seconds(), self._rng)
            return Outcome({**undone, "failure": reason, "attempts": attempts})

        return record

    def _begin(self, connection: sa.Connection, object_id: str) -> V | None:
        if not leases.take(connection, self._kind.table, object_id, self._owner, self._seconds):
            return None
        return self._kind.read(connection, object_id)

    async def _record(
        self,
        object_id: str,
        fence: int,
        view: V,
        decision: Decision,
        recording: Recording | None,
        *,
        rest: bool = True,
    ) -> tuple[V | None, Settled | RunAgain | None]:
        """Record what a step did, and give the lease back at once if that leaves nothing to do.

        :param rest: ``False``: its effect is still to come.
        :return: the view after it; ``None`` when the object is gone or rests, then with when to look again.
        """
        seen = self._kind.row(view)["revision"]
        try:
            after, resting, wake = await self._store.write(
                self._recorded, object_id, fence, seen, decision, recording, rest
            )
        except sa.exc.IntegrityError as error:
            # Another object took what this one was about to (a sharing key): look again.
            self._log.info("{object_id} looks again: {reason}", object_id=object_id, reason=str(error.orig))
            after, resting, wake = await self._store.write(
                self._recorded, object_id, fence, seen, decision, None, False
            )
        for key in wake:
            self._wake(key)
        return after, None if resting is None else self._until(_until(resting))

    def _recorded(
        self,
        connection: sa.Connection,
        object_id: str,
        fence: int,
        seen: int,
        decision: Decision,
        recording: Recording | None,
        rest: bool,
    ) -> tuple[V | None, Decision | None, list[str]]:
        if recording is not None:
            self._kind.reserve(connection, object_id, decision.action)
        row = self._locked(connection, object_id, fence)
        if row is None:
            return None, None, []
        # A status that was decided before a new fact came would be the success of an older request (I8).
        values = self._kind.describe(row, decision) if row["revision"] == seen else {}
        wake: list[str] = []
        if recording is not None:
            outcome = recording(connection, row)
            wake.extend(outcome.wake)
            if outcome.gone:
                return None, None, wake
            values.update(outcome.values)
            values["revision"] = row["revision"] + 1
        wake.extend(self._kind.announce(connection, row, values))
        values["updated_at"] = self._clock.seconds()
        rows.put(connection, self._kind.table, object_id, values, lease=self._seconds)
        after = self._kind.read(connection, object_id)
        if after is None or not rest:
            return after, None, wake
        following = self._kind.decide(after, self._clock.seconds())
        if isinstance(following.action, Step):
            return after, None, wake
        wake.extend(self._rest(connection, object_id, self._kind.row(after), following))
        return None, following, wake

    def _rest(
        self, connection: sa.Connection, object_id: str, row: dict[str, Any], decision: Decision
    ) -> list[str]:
        """Give the lease of the locked *row* back: nothing is to be done at its revision (I4)."""
        changed = self._kind.describe(row, decision)
        wake = self._kind.announce(connection, row, changed) if changed else []
        given = {"lease_owner": None, "lease_until": None, "converged_revision": row["revision"]}
        rows.put(connection, self._kind.table, object_id, {**changed, **given, **_resting(decision)})
        return wake


def _resting(decision: Decision) -> dict[str, Any]:
    """What the row says of an object that nobody works on."""
    action = decision.action
    return {"wake_at": _until(decision), "waiting_for": action.reason if isinstance(action, Wait) else None}


def _until(decision: Decision) -> float | None:
    """When to look again, if ever."""
    action = decision.action
    if isinstance(action, Step):
        return None
    return action.until if isinstance(action, Wait) else action.look_again


def _reports(step: Step) -> bool:
    """Whether a step tells a status, which must be stored before it is told."""
    return hasattr(step, "status")
