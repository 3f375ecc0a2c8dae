"""What a plan can say: do this step, wait for that, or nothing to do."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Attempts = Mapping[str, Mapping[str, Any]]
"""Per step name: ``count`` of failures, ``until`` (epoch seconds) it may be tried again, ``reason``."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0


@dataclass(frozen=True)
class Step:
    """Something to do in the world or in the store; compares by value."""

    @property
    def name(self) -> str:
        """What attempts and history call the step."""
        return type(self).__name__


@dataclass(frozen=True)
class Wait:
    """Nothing to do before an event, or before *until* (I10).

    :ivar reason: what for, fit for an operator.
    :ivar until: epoch seconds at which to look again at the latest.
    """

    reason: str
    until: float


@dataclass(frozen=True)
class Settled:
    """What is equals what is wanted, or cannot become so without a new fact.

    :ivar look_again: epoch seconds of the next look in the background, if any.
    """

    look_again: float | None = None


Action = Step | Wait | Settled


@dataclass(frozen=True)
class Decision:
    """The planner's answer.

    :ivar status: what the object's ``status`` is, given the snapshot.
    :ivar description: the same for ``status_description``.
    """

    action: Action
    status: str
    description: str = ""


def guarded(step: Step, attempts: Attempts, now: float) -> Step | Wait:
    """Hold *step* back while its last failure's backoff lasts."""
    failed = attempts.get(step.name)
    if failed and failed["until"] > now:
        return Wait(f"{failed['reason']} (try {failed['count'] + 1} follows)", failed["until"])
    return step


def backoff(attempts: Attempts, name: str, reason: str, now: float, rng: random.Random) -> dict[str, Any]:
    """Count one more failure of the step *name*.

    :return: the new attempts; delays double from 0.5 s to 60 s, with 20 % jitter.
    """
    count = int(attempts.get(name, {}).get("count", 0)) + 1
    delay = min(FIRST_DELAY * 2.0 ** min(count - 1, 16), LONGEST_DELAY) * rng.uniform(0.8, 1.2)
    return {**attempts, name: {"count": count, "until": now + delay, "reason": reason}}


def cleared(attempts: Attempts, name: str) -> dict[str, Any]:
    """Forget the failures of the step *name*."""
    return {key: dict(value) for key, value in attempts.items() if key != name}
