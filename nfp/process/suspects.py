"""Who is to blame when a worker dies: a pure decision.

A worker runs hundreds of things at once, so that its death accuses all of them and convicts
none.  What was running is run again one at a time; only what is alone when a worker dies is
struck, and whoever is struck often enough is taken out: an event is parked, a key held.

| running at the death              | struck       | what runs in the fresh worker                    |
|-----------------------------------|--------------|--------------------------------------------------|
| nothing                           | nobody       | whatever is waiting                              |
| one                               | it           | the other suspects, then it, each alone          |
| one, for the last time            | it: it is out| the other suspects, each alone, then the rest    |
| one, and what it submitted itself | the one      | as above; what it submitted is a suspect too     |
| several                           | nobody       | each of them alone, then the rest                |

A suspect that finishes once is cleared, its strikes forgotten.  Keys of a kind that runs
nobody else's code are never told to this module.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

STRIKES = 3
"""How many deaths alone take a task out."""


@dataclass(frozen=True)
class Running:
    """A task that a worker has begun and not finished.

    :ivar task: its identity.
    :ivar nested: submitted by another task of a worker, on whose behalf it runs.
    """

    task: Hashable
    nested: bool = False


@dataclass(frozen=True)
class Ledger:
    """What is known of the tasks of one lane.

    :ivar suspects: those that must run alone, in the order in which they shall.
    :ivar strikes: deaths alone, by task; only of suspects.
    """

    suspects: tuple[Hashable, ...] = ()
    strikes: Mapping[Hashable, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What follows from a death.

    :ivar ledger: what is known from now on.
    :ivar struck: who was alone, if anybody.
    :ivar out: whether *struck* is to be run no more.
    """

    ledger: Ledger
    struck: Hashable | None = None
    out: bool = False


def died(ledger: Ledger, running: Sequence[Running], limit: int = STRIKES) -> Verdict:
    """Judge the death of a worker.

    :param running: what it had begun and not finished, oldest first.
    :param limit: the strike that takes a task out.
    """
    waiting = tuple(task for task in ledger.suspects if all(task != each.task for each in running))
    accused = [each.task for each in running if not each.nested] or [each.task for each in running]
    if len(accused) != 1:
        return Verdict(replace(ledger, suspects=(*waiting, *(each.task for each in running))))
    [alone] = accused
    others = (*waiting, *(each.task for each in running if each.task != alone))
    count = ledger.strikes.get(alone, 0) + 1
    if count >= limit:
        return Verdict(Ledger(others, _without(ledger.strikes, alone)), alone, out=True)
    return Verdict(Ledger((*others, alone), {**ledger.strikes, alone: count}), alone)


def finished(ledger: Ledger, task: Hashable) -> Ledger:
    """Clear a task that has finished, or that is no more."""
    if task not in ledger.suspects:
        return ledger
    return Ledger(tuple(each for each in ledger.suspects if each != task), _without(ledger.strikes, task))


def alone_next(ledger: Ledger, running: Sequence[Running]) -> Hashable | None:
    """The suspect to start now; ``None`` while another task runs, or when there is none."""
    if running or not ledger.suspects:
        return None
    return ledger.suspects[0]


def _without(strikes: Mapping[Hashable, int], task: Hashable) -> dict[Hashable, int]:
    return {each: count for each, count in strikes.items() if each != task}
