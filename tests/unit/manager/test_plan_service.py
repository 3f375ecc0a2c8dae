"""The service planner's table, row by row, and that it always ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.plan import service
from nfp.manager.plan.decisions import Settled, Step, Wait
from nfp.manager.plan.service import (
    Bind,
    Binding,
    Fail,
    HandOver,
    Remove,
    Report,
    ServiceSnapshot,
    Unbind,
    plan,
)

NOW = 1000.0

NEW = ServiceSnapshot(
    id="s",
    revision=1,
    wanted_absent=False,
    held=None,
    failure=None,
    was_active=False,
    status="PENDING_CREATE",
    description="",
    reported=False,
    attempts={},
    spec_digest="W",
)
BOUND = Binding(
    nsd_id="d",
    unbinding=False,
    handed="W",
    applied=None,
    refused=None,
    refusal="",
    device_down=None,
    device_description="creating the device",
    device_failure=None,
    device_absent=False,
)
APPLIED = replace(BOUND, applied="W", device_description="")


def bound(binding: Binding, **changes: Any) -> ServiceSnapshot:
    return replace(NEW, binding=binding, **changes)


def told(snapshot: ServiceSnapshot, status: str, description: str = "") -> ServiceSnapshot:
    return replace(snapshot, status=status, description=description, reported=True)


ROWS: dict[str, tuple[ServiceSnapshot, object, str]] = {
    "held": (replace(NEW, held="by ada"), Wait("held: by ada", NOW + 3600), "PENDING_CREATE"),
    "absent and bound": (bound(APPLIED, wanted_absent=True), Unbind(), "PENDING_DELETE"),
    "absent, the device still carries it": (
        bound(replace(APPLIED, unbinding=True), wanted_absent=True),
        Wait("device is removing the service", NOW + service.LOOK),
        "PENDING_DELETE",
    ),
    "absent, unbound, not reported": (
        replace(NEW, wanted_absent=True),
        Report("DELETED", ""),
        "DELETED",
    ),
    "absent, unbound, reported": (told(replace(NEW, wanted_absent=True), "DELETED"), Remove(), "DELETED"),
    "failed, still bound": (bound(BOUND, failure="no room"), Unbind(), "ERROR"),
    "failed, not reported": (replace(NEW, failure="no room"), Report("ERROR", "no room"), "ERROR"),
    "failed, reported": (told(replace(NEW, failure="no room"), "ERROR", "no room"), Settled(), "ERROR"),
    "an earlier try is being undone": (
        bound(replace(BOUND, unbinding=True)),
        Wait("an earlier try is being undone", NOW + service.LOOK),
        "PENDING_CREATE",
    ),
    "ports held": (
        replace(NEW, ports_held_by="other"),
        Wait("ports held by other, which is being deleted", NOW + service.HELD_PORTS_LOOK),
        "PENDING_CREATE",
    ),
    "no instance": (NEW, Bind(), "PENDING_CREATE"),
    "handed another configuration": (
        bound(replace(APPLIED, handed="V", applied="V")),
        HandOver("W"),
        "PENDING_CREATE",
    ),
    "an update is handed over": (
        bound(replace(APPLIED, handed="V", applied="V"), was_active=True),
        HandOver("W"),
        "PENDING_UPDATE",
    ),
    "refused, never active": (
        bound(replace(BOUND, refused="W", refusal="bad")),
        Fail("bad"),
        "PENDING_CREATE",
    ),
    "device failed, never active": (
        bound(replace(BOUND, device_failure="quota")),
        Fail("quota"),
        "PENDING_CREATE",
    ),
    "an update was refused": (
        bound(replace(APPLIED, applied="V", refused="W", refusal="bad"), was_active=True),
        Report("ERROR", "update refused, the last good configuration is in place: bad"),
        "ERROR",
    ),
    "being configured": (
        bound(BOUND),
        Wait("creating the device", NOW + service.LOOK),
        "PENDING_CREATE",
    ),
    "device is down": (
        bound(replace(APPLIED, device_down="silent")),
        Report("DOWN", "silent"),
        "DOWN",
    ),
    "device is down, reported": (
        told(bound(replace(APPLIED, device_down="silent")), "DOWN", "silent"),
        Settled(),
        "DOWN",
    ),
    "in place, not reported": (bound(APPLIED), Report("ACTIVE", ""), "ACTIVE"),
    "in place, reported": (told(bound(APPLIED), "ACTIVE"), Settled(), "ACTIVE"),
    "in place, an update was bad": (
        bound(APPLIED, notice="update refused: x"),
        Report("ACTIVE", "update refused: x"),
        "ACTIVE",
    ),
}


class TableTests(SynchronousTestCase):
    def test_each_row_of_the_table(self) -> None:
        for what, (snapshot, action, status) in ROWS.items():
            decision = plan(snapshot, NOW)
            self.assertEqual((action, status), (decision.action, decision.status), what)

    def test_each_rule_decides_some_row(self) -> None:
        """A rule that could be taken away unnoticed has no row here."""
        for index, rule in enumerate(service.RULES):
            self.patch(service, "RULES", (*service.RULES[:index], *service.RULES[index + 1 :]))
            changed = [what for what, (snapshot, action, _) in ROWS.items() if _action(snapshot) != action]
            self.assertNotEqual([], changed, rule.__name__)
            service.RULES = (*service.RULES[:index], rule, *service.RULES[index:])

    def test_a_failed_step_waits_for_its_backoff_with_its_reason(self) -> None:
        failed = replace(NEW, attempts={"Bind": {"count": 2, "until": NOW + 1, "reason": "no host"}})
        self.assertEqual(Wait("no host (try 3 follows)", NOW + 1), plan(failed, NOW).action)
        self.assertEqual(Bind(), plan(failed, NOW + 1).action)


def _action(snapshot: ServiceSnapshot) -> object:
    try:
        return plan(snapshot, NOW).action
    except AssertionError:
        return None


class World:
    """What happens to a service whose device does as it is told."""

    def __init__(self, snapshot: ServiceSnapshot, device_takes_it: bool) -> None:
        self.snapshot = snapshot
        self.gone = False
        self._takes = device_takes_it

    def do(self, step: Step) -> None:
        now = self.snapshot
        match step:
            case Bind():
                self.snapshot = replace(now, binding=replace(BOUND, handed=now.spec_digest))
            case HandOver(digest):
                assert now.binding is not None
                self.snapshot = replace(now, binding=replace(now.binding, handed=digest))
            case Unbind():
                assert now.binding is not None
                self.snapshot = replace(now, binding=replace(now.binding, unbinding=True))
            case Fail(reason):
                assert now.binding is not None
                self.snapshot = replace(now, failure=reason, binding=replace(now.binding, unbinding=True))
            case Report(status, description):
                self.snapshot = told(now, status, description)
            case Remove():
                self.gone = True

    def wait(self) -> None:
        """The event that the wait is for."""
        now = self.snapshot
        if now.binding is None:
            self.snapshot = replace(now, ports_held_by=None)
        elif now.binding.unbinding:
            self.snapshot = replace(now, binding=None)
        elif self._takes:
            done = replace(now.binding, applied=now.binding.handed)
            self.snapshot = replace(now, binding=done)
        else:
            self.snapshot = replace(
                now, binding=replace(now.binding, refused=now.binding.handed, refusal="no")
            )


BINDINGS = st.builds(
    Binding,
    nsd_id=st.just("d"),
    unbinding=st.booleans(),
    handed=st.sampled_from(["W", "V"]),
    applied=st.sampled_from([None, "W", "V"]),
    refused=st.sampled_from([None, "W", "V"]),
    refusal=st.just("no"),
    device_down=st.sampled_from([None, "silent"]),
    device_description=st.just("so"),
    device_failure=st.sampled_from([None, "quota"]),
    device_absent=st.booleans(),
)
SNAPSHOTS = st.builds(
    ServiceSnapshot,
    id=st.just("s"),
    revision=st.just(1),
    wanted_absent=st.booleans(),
    held=st.none(),
    failure=st.sampled_from([None, "why"]),
    was_active=st.booleans(),
    status=st.sampled_from(["PENDING_CREATE", "ACTIVE", "ERROR"]),
    description=st.sampled_from(["", "x"]),
    reported=st.booleans(),
    attempts=st.just({}),
    spec_digest=st.just("W"),
    binding=st.none() | BINDINGS,
    ports_held_by=st.sampled_from([None, "other"]),
)


class SettlingTests(SynchronousTestCase):
    @given(SNAPSHOTS, st.booleans())
    def test_every_service_settles_and_is_then_left_alone(
        self, snapshot: ServiceSnapshot, takes: bool
    ) -> None:
        world = World(snapshot, takes)
        for _ in range(20):
            action = plan(world.snapshot, NOW).action
            if isinstance(action, Settled) or world.gone:
                break
            if isinstance(action, Wait):
                world.wait()
            else:
                world.do(action)
        else:
            self.fail(f"does not settle: {world.snapshot}")
        if not world.gone:
            self.assertEqual(action, plan(world.snapshot, NOW).action)
            self.assertFalse(snapshot.wanted_absent, "a service that is wanted absent goes")
