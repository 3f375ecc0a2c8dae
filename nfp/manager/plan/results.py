"""What a configurator's result means for what was told (``contract.md`` section 4).

==================================================================  ================================
result                                                              meaning
==================================================================  ================================
applied, the digest expected, since nothing else was told           applied: the key is in place
of an older order, otherwise                                        history
applied or reverted, another digest                                 refused for good: it did not take
refused, transient                                                  try again, with backoff
refused                                                             refused for good
==================================================================  ================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from nfp.manager.plan.told import Told
from nfp.model.states import Outcome


class Verdict(NamedTuple):
    """What a result changes.

    :ivar told: the new state of what was told.
    :ivar retry: the reason for another try, if one is due.
    :ivar history: whether the result is only worth a line of history.
    """

    told: Told
    retry: str | None = None
    history: bool = False


def weigh(told: Told, data: Mapping[str, Any]) -> Verdict:
    """Weigh a result against what was told.

    :param data: the notification's ``{"order", "digest", "outcome", "reason", "transient"}``.
    """
    outcome, digest, reason = data.get("outcome"), data.get("digest"), str(data.get("reason") or "")
    if told.key is None:
        return Verdict(told, history=True)
    order = tuple(data.get("order") or ())
    if outcome == Outcome.APPLIED and digest == told.expects and order >= told.since:
        done = replace(
            told,
            pending=False,
            applied=told.key,
            applied_about=told.about,
            refused=None,
            refused_about=None,
            refusal="",
        )
        return Verdict(done)
    if order != told.order:
        return Verdict(told, history=True)
    if data.get("transient"):
        return Verdict(replace(told, deadline=0.0), retry=reason or "the device did not take it")
    if outcome == Outcome.APPLIED:
        reason = f"the device reads back another configuration than it was given. {reason}".strip()
    elif outcome == Outcome.REVERTED:
        reason = f"the device went back to its previous configuration. {reason}".strip()
    return Verdict(
        replace(
            told,
            pending=False,
            refused=told.key,
            refused_about=told.about,
            refusal=reason or "refused without a reason",
        )
    )
