"""What a network service needs next.

========================================================  =======================================
observed                                                  step
========================================================  =======================================
held                                                      wait (held by operator)
wanted absent, bound                                      :class:`Unbind`
wanted absent, device still carries it                    wait (device is removing the service)
wanted absent, unbound, not reported                      :class:`Report`
wanted absent, unbound                                    :class:`Remove`
failed, still bound, never was active                     :class:`Unbind`
failed, not reported                                      :class:`Report`
failed                                                    settled (ERROR, reason)
an earlier try is being undone                            wait
no instance, ports held by a dying service                wait (ports held by <id>)
no instance                                               :class:`Bind`
device was handed another configuration                   :class:`HandOver`
device refused this configuration, never was active       :class:`Fail`
device failed for good, never was active                  :class:`Fail`
device refused this configuration                         report / settled (ERROR, last good one works)
the digest read back is not the digest wanted             wait (what the device says)
device is DOWN                                            report / settled (DOWN, reason)
the digest read back is the digest wanted, not reported   :class:`Report`
the same, reported                                        settled (ACTIVE)
========================================================  =======================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nfp.manager.plan.decisions import Action, Attempts, Decision, Settled, Step, Wait, guarded
from nfp.model.states import ServiceStatus

LOOK = 30.0
"""Seconds after which a wait for another object's event looks for itself."""

HELD_PORTS_LOOK = 1.0


@dataclass(frozen=True)
class Bind(Step):
    """Choose a device to share or insert a new one, and bind the service to it."""


@dataclass(frozen=True)
class HandOver(Step):
    """Give the device the configuration that is wanted now."""

    spec_digest: str


@dataclass(frozen=True)
class Unbind(Step):
    """Ask the device to take the service off."""


@dataclass(frozen=True)
class Fail(Step):
    """Record that this cannot work until something changes."""

    reason: str


@dataclass(frozen=True)
class Report(Step):
    """Tell the node driver the status."""

    status: str
    description: str


@dataclass(frozen=True)
class Remove(Step):
    """Remove the row; a tombstone stays."""


@dataclass(frozen=True)
class Binding:
    """The service's instance and the device under it.

    :ivar handed: digest of the spec that the device was handed.
    :ivar applied: digest of the spec whose configuration was read back from the device (I8).
    :ivar device_down: why the device does not answer, if it does not.
    :ivar refused: digest of the spec that the device refused for good, with *refusal*.
    """

    nsd_id: str
    unbinding: bool
    handed: str | None
    applied: str | None
    refused: str | None
    refusal: str
    device_down: str | None
    device_description: str
    device_failure: str | None
    device_absent: bool


@dataclass(frozen=True)
class ServiceSnapshot:
    """What the store says of a service at one revision.

    :ivar spec_digest: digest of the spec wanted; ``None`` when *failure* says why there is none.
    :ivar status: the stored status and description, as last written.
    :ivar reported: whether the stored status has been reported.
    :ivar notice: why the last update was refused, if it was.
    :ivar ports_held_by: a service that is being deleted and still holds one of the ports.
    """

    id: str
    revision: int
    wanted_absent: bool
    held: str | None
    failure: str | None
    was_active: bool
    status: str | None
    description: str | None
    reported: bool
    attempts: Attempts
    spec_digest: str | None = None
    binding: Binding | None = None
    ports_held_by: str | None = None
    notice: str = ""


Rule = Callable[[ServiceSnapshot, float], Decision | None]


def plan(snapshot: ServiceSnapshot, now: float) -> Decision:
    """Decide what the service needs next.

    :param now: epoch seconds.
    """
    for rule in RULES:
        decision = rule(snapshot, now)
        if decision is None:
            continue
        action = decision.action
        if isinstance(action, Step):
            action = guarded(action, snapshot.attempts, now)
        description = decision.description
        if isinstance(action, Wait) and not description:
            description = action.reason
        return Decision(action, decision.status, description)
    raise AssertionError("the last rule always decides")


def _pending(snapshot: ServiceSnapshot) -> str:
    return ServiceStatus.PENDING_UPDATE if snapshot.was_active else ServiceStatus.PENDING_CREATE


def _told(snapshot: ServiceSnapshot, status: str, description: str, then: Action) -> Decision:
    """*then*, once *status* has been reported."""
    known = snapshot.reported and (snapshot.status, snapshot.description or "") == (status, description)
    return Decision(then if known else Report(status, description), status, description)


def held(snapshot: ServiceSnapshot, now: float) -> Decision | None:
    if snapshot.held is None:
        return None
    status = snapshot.status or _pending(snapshot)
    return Decision(Wait(f"held: {snapshot.held}", now + 3600), status, f"held: {snapshot.held}")


def absent(snapshot: ServiceSnapshot, now: float) -> Decision | None:
    if not snapshot.wanted_absent:
        return None
    status = ServiceStatus.PENDING_DELETE
    if snapshot.binding is None:
        return _told(snapshot, ServiceStatus.DELETED, "", Remove())
    if not snapshot.binding.unbinding:
        return Decision(Unbind(), status, "taking the service off its device")
    return Decision(
        Wait("device is removing the service", now + LOOK),
        status,
        snapshot.binding.device_description or "device is removing the service",
    )


def failed(snapshot: ServiceSnapshot, now: float) -> Decision | None:
    if snapshot.failure is None:
        return None
    bound = snapshot.binding
    if bound is not None and not bound.unbinding and not snapshot.was_active:
        return Decision(Unbind(), ServiceStatus.ERROR, snapshot.failure)
    return _told(snapshot, ServiceStatus.ERROR, snapshot.failure, Settled())


def unbound(snapshot: ServiceSnapshot, now: float) -> Decision | None:
    bound = snapshot.binding
    if bound is not None and not bound.unbinding:
        return None
    status = _pending(snapshot)
    if bound is not None:
        return Decision(Wait("an earlier try is being undone", now + LOOK), status)
    if snapshot.ports_held_by is not None:
        return Decision(
            Wait(f"ports held by {snapshot.ports_held_by}, which is being deleted", now + HELD_PORTS_LOOK),
            status,
        )
    return Decision(Bind(), status, "choosing a device")


def to_hand_over(snapshot: ServiceSnapshot, now: float) -> Decision | None:
    bound, digest = snapshot.binding, snapshot.spec_digest
    if bound is None or digest is None or bound.handed == digest:
        return None
    return Decision(HandOver(digest), _pending(snapshot), "handing the configuration to the device")


def refused(snapshot: ServiceSnapshot, now: float) -> Decision | None:
    bound = snapshot.binding
    if bound is None:
        return None
    if bound.device_failure is not None and bound.applied != snapshot.spec_digest:
        if not snapshot.was_active:
            return Decision(Fail(bound.device_failure), _pending(snapshot), bound.device_failure)
        return _told(snapshot, ServiceStatus.ERROR, bound.device_failure, Settled())
    if bound.refused != snapshot.spec_digest:
        return None
    if not snapshot.was_active:
        return Decision(Fail(bound.refusal), _pending(snapshot), bound.refusal)
    reason = f"update refused, the last good configuration is in place: {bound.refusal}"
    return _told(snapshot, ServiceStatus.ERROR, reason, Settled())


def configuring(snapshot: ServiceSnapshot, now: float) -> Decision | None:
    bound = snapshot.binding
    if bound is None or bound.applied == snapshot.spec_digest:
        return None
    reason = bound.device_description or "device is configuring the service"
    return Decision(Wait(reason, now + LOOK), _pending(snapshot), reason)


def configured(snapshot: ServiceSnapshot, now: float) -> Decision | None:
    bound = snapshot.binding
    if bound is not None and bound.device_down is not None:
        return _told(snapshot, ServiceStatus.DOWN, bound.device_down, Settled())
    return _told(snapshot, ServiceStatus.ACTIVE, snapshot.notice, Settled())


RULES: tuple[Rule, ...] = (
    held,
    absent,
    failed,
    unbound,
    to_hand_over,
    refused,
    configuring,
    configured,
)
