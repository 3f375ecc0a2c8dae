"""The device planner's table, row by row, and that it always ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.plan import device
from nfp.manager.plan.decisions import Settled, Step, Wait
from nfp.manager.plan.device import Policy, plan
from nfp.manager.plan.device_snapshot import Bound, DeviceSnapshot
from nfp.manager.plan.device_steps import (
    CreateNsd,
    DeleteNsd,
    DropBinding,
    Inspect,
    Plug,
    RemoveDevice,
    TellClear,
    TellConfig,
    TellMonitor,
    TellMonitorRemoval,
    TellRemoval,
    TellService,
    Unplug,
)
from nfp.manager.plan.told import Told

NOW = 1000.0
LATER = NOW + 30
POLICY = Policy(resync_interval=300.0, stale_before=500.0)
RESYNC = Settled(NOW + 300)

MONITOR = Told(key="monitor", boot="b1")
CONFIG = Told(key="c", boot="b1", deadline=LATER, applied="c")
SERVED = Told(key="k", about="W", boot="b1", deadline=LATER, applied="k", applied_about="W")
CARRIED = Bound("i", "s", unbinding=False, key="k", told=SERVED)
GOING = replace(CARRIED, unbinding=True)
REMOVAL = Told(key="removal", boot="b1", deadline=LATER)

GOOD = DeviceSnapshot(
    id="d",
    revision=9,
    wanted_absent=False,
    held=None,
    failure=None,
    attempts={},
    created=True,
    backend="ACTIVE",
    backend_reason="",
    inspected_at=NOW,
    wanted_ports=("p", "q"),
    plugged=("p", "q"),
    boot="b1",
    monitor=MONITOR,
    config_key="c",
    config=CONFIG,
    answering=False,
    health="UP",
    health_reason="",
    bindings=(CARRIED,),
)
ABSENT = replace(GOOD, wanted_absent=True, bindings=(replace(GOING, removed=True),), wanted_ports=())
NEW = replace(
    GOOD,
    created=False,
    backend=None,
    inspected_at=0.0,
    plugged=(),
    monitor=Told(),
    config=Told(),
    health=None,
    bindings=(replace(CARRIED, told=Told()),),
)
NO_AGENT = Wait("no live agent reaches the configurator", NOW + device.NO_AGENT_LOOK)

ROWS: dict[str, tuple[DeviceSnapshot, object, str]] = {
    "held": (replace(GOOD, held="by ada"), Wait("held: by ada", NOW + 3600), "PENDING_UPDATE"),
    "a binding goes": (replace(GOOD, bindings=(GOING,)), TellRemoval("i"), "PENDING_UPDATE"),
    "a binding goes, no agent": (replace(GOOD, bindings=(GOING,), boot=None), NO_AGENT, "PENDING_UPDATE"),
    "a binding goes, told": (
        replace(GOOD, bindings=(replace(GOING, removing=REMOVAL),)),
        Wait("device is removing the service", LATER),
        "PENDING_UPDATE",
    ),
    "a binding goes, the result is late": (
        replace(GOOD, bindings=(replace(GOING, removing=replace(REMOVAL, deadline=NOW)),)),
        TellRemoval("i"),
        "PENDING_UPDATE",
    ),
    "a binding goes, the configurator was born again": (
        replace(GOOD, bindings=(replace(GOING, removing=replace(REMOVAL, boot="b0")),)),
        TellRemoval("i"),
        "PENDING_UPDATE",
    ),
    "a binding is gone": (
        replace(GOOD, bindings=(replace(GOING, removed=True),)),
        DropBinding("i"),
        "PENDING_UPDATE",
    ),
    "a binding was never told": (
        replace(GOOD, bindings=(replace(GOING, told=Told()),)),
        DropBinding("i"),
        "PENDING_UPDATE",
    ),
    "absent, configured": (ABSENT, TellClear(), "PENDING_DELETE"),
    "absent, being cleared": (
        replace(ABSENT, clearing=REMOVAL),
        Wait("clearing the device", LATER),
        "PENDING_DELETE",
    ),
    "absent, configured, no agent": (replace(ABSENT, boot=None), NO_AGENT, "PENDING_DELETE"),
    "absent, dead": (replace(ABSENT, health="DOWN"), TellMonitorRemoval(), "PENDING_DELETE"),
    "absent, monitored": (replace(ABSENT, config=Told()), TellMonitorRemoval(), "PENDING_DELETE"),
    "absent, plugged": (replace(ABSENT, config=Told(), monitor=Told()), Unplug("q"), "PENDING_DELETE"),
    "absent, created": (
        replace(ABSENT, config=Told(), monitor=Told(), plugged=()),
        DeleteNsd(),
        "PENDING_DELETE",
    ),
    "absent, gone behind our back": (
        replace(ABSENT, backend="GONE", monitor=Told()),
        DeleteNsd(),
        "PENDING_DELETE",
    ),
    "absent, gone, still monitored": (
        replace(ABSENT, created=False, attempted=True),
        TellMonitorRemoval(),
        "PENDING_DELETE",
    ),
    "absent, its making was begun": (
        replace(ABSENT, created=False, attempted=True, monitor=Told()),
        DeleteNsd(),
        "PENDING_DELETE",
    ),
    "absent, it will not be cleared": (
        replace(ABSENT, attempts={"TellClear": {"count": 5, "until": 0.0, "reason": "no"}}),
        TellMonitorRemoval(),
        "PENDING_DELETE",
    ),
    "absent, not seen lately": (replace(ABSENT, inspected_at=499.0), Inspect(), "PENDING_DELETE"),
    "absent, not found at the last look": (
        replace(ABSENT, backend="UNKNOWN", inspected_at=NOW - 30),
        Inspect(),
        "PENDING_DELETE",
    ),
    "absent, not created": (replace(ABSENT, created=False, monitor=Told()), RemoveDevice(), "PENDING_DELETE"),
    "failed": (replace(GOOD, failure="quota"), Settled(), "ERROR"),
    "not created": (NEW, CreateNsd(), "PENDING_CREATE"),
    "not seen lately": (replace(GOOD, inspected_at=499.0), Inspect(), "ACTIVE"),
    "building": (
        replace(GOOD, backend="BUILDING"),
        Wait("device is building", NOW + device.BUILDING_LOOK),
        "PENDING_UPDATE",
    ),
    "building, time to look": (
        replace(GOOD, backend="BUILDING", inspected_at=NOW - 1),
        Inspect(),
        "PENDING_UPDATE",
    ),
    "in error outside": (
        replace(GOOD, backend="ERROR", backend_reason="no host"),
        Wait("device is in error: no host", NOW + 300),
        "PENDING_UPDATE",
    ),
    "an interface is missing": (replace(GOOD, plugged=("p",)), Plug("q"), "PENDING_UPDATE"),
    "an interface is too many": (replace(GOOD, wanted_ports=("p",)), Unplug("q"), "PENDING_UPDATE"),
    "no agent": (replace(GOOD, boot=None), NO_AGENT, "PENDING_UPDATE"),
    "not monitored": (replace(GOOD, monitor=Told()), TellMonitor(), "PENDING_UPDATE"),
    "monitored by an earlier life": (
        replace(GOOD, monitor=replace(MONITOR, boot="b0")),
        TellMonitor(),
        "PENDING_UPDATE",
    ),
    "never answered": (
        replace(GOOD, health=None),
        Wait("device has not answered yet", NOW + device.ANSWER_LOOK),
        "PENDING_UPDATE",
    ),
    "not configured": (replace(GOOD, config=Told()), TellConfig("c"), "PENDING_CREATE"),
    "being configured": (
        replace(GOOD, config=replace(CONFIG, applied=None)),
        Wait("configuring the device", LATER),
        "PENDING_CREATE",
    ),
    "a result is late": (
        replace(GOOD, config=replace(CONFIG, applied=None, deadline=NOW)),
        TellConfig("c"),
        "PENDING_CREATE",
    ),
    "configuration refused": (
        replace(GOOD, config=replace(CONFIG, applied=None, refused="c", refusal="no")),
        RESYNC,
        "ERROR",
    ),
    "a service is not there": (
        replace(GOOD, bindings=(replace(CARRIED, told=Told()),)),
        TellService("i", "k"),
        "PENDING_UPDATE",
    ),
    "a service changed": (
        replace(GOOD, bindings=(replace(CARRIED, key="k2"),)),
        TellService("i", "k2"),
        "PENDING_UPDATE",
    ),
    "a service is being configured": (
        replace(GOOD, bindings=(replace(CARRIED, told=replace(SERVED, applied=None)),)),
        Wait("configuring the service", LATER),
        "PENDING_UPDATE",
    ),
    "whoever told it may have died before": (
        replace(
            GOOD,
            uncertain_below=5,
            bindings=(replace(CARRIED, told=replace(SERVED, order=(4, 1), applied=None)),),
        ),
        TellService("i", "k"),
        "PENDING_UPDATE",
    ),
    "the monitor may never have been told": (
        replace(GOOD, uncertain_below=5, monitor=replace(MONITOR, order=(4, 1), pending=True)),
        TellMonitor(),
        "PENDING_UPDATE",
    ),
    "told to an earlier life of the configurator": (
        replace(GOOD, bindings=(replace(CARRIED, told=replace(SERVED, boot="b0")),)),
        TellService("i", "k"),
        "PENDING_UPDATE",
    ),
    "a service was told again, and the result is to come": (
        replace(GOOD, bindings=(replace(CARRIED, told=replace(SERVED, pending=True)),)),
        Wait("configuring the service", LATER),
        "PENDING_UPDATE",
    ),
    "a port changed": (replace(GOOD, outdated=("q",)), Unplug("q"), "PENDING_UPDATE"),
    "a port comes back under another id": (
        replace(GOOD, wanted_ports=("p", "r")),
        Unplug("q"),
        "PENDING_UPDATE",
    ),
    "a service was refused for good": (
        replace(GOOD, bindings=(replace(CARRIED, told=replace(SERVED, applied=None, refused="k")),)),
        RESYNC,
        "ACTIVE",
    ),
    "unhealthy": (replace(GOOD, health="DOWN", health_reason="silent"), RESYNC, "DOWN"),
    "all equal": (GOOD, RESYNC, "ACTIVE"),
}


class TableTests(SynchronousTestCase):
    def test_each_row_of_the_table(self) -> None:
        for what, (snapshot, action, status) in ROWS.items():
            decision = plan(snapshot, NOW, POLICY)
            self.assertEqual((action, status), (decision.action, decision.status), what)

    def test_each_rule_decides_some_row(self) -> None:
        """A rule that could be taken away unnoticed has no row here."""
        rules = device.RULES
        for index, rule in enumerate(rules):
            self.patch(device, "RULES", (*rules[:index], *rules[index + 1 :]))
            changed = [what for what, (snapshot, action, _) in ROWS.items() if _action(snapshot) != action]
            self.assertNotEqual([], changed, rule.__name__)

    def test_a_failed_step_waits_for_its_backoff_with_its_reason(self) -> None:
        failed = replace(NEW, attempts={"CreateNsd": {"count": 1, "until": NOW + 1, "reason": "no room"}})
        decision = plan(failed, NOW, POLICY)
        self.assertEqual(Wait("no room (try 2 follows)", NOW + 1), decision.action)
        self.assertEqual("no room (try 2 follows)", decision.description)

    def test_a_device_that_answers_by_its_drivers_word_is_configured_before_the_first_probe(self) -> None:
        snapshot = replace(GOOD, answering=True, health=None, config=Told())
        self.assertEqual(TellConfig("c"), plan(snapshot, NOW, POLICY).action)


def _action(snapshot: DeviceSnapshot) -> object:
    try:
        return plan(snapshot, NOW, POLICY).action
    except AssertionError:
        return None


class World:
    """A device whose outside does as it is told, and answers when it is waited for."""

    def __init__(self, snapshot: DeviceSnapshot) -> None:
        self.snapshot = snapshot
        self.gone = False

    def change(self, **changes: Any) -> None:
        self.snapshot = replace(self.snapshot, **changes)

    def bind(self, instance_id: str, **changes: Any) -> None:
        bindings = self.snapshot.bindings
        self.change(
            bindings=tuple(replace(b, **changes) if b.instance_id == instance_id else b for b in bindings)
        )

    def do(self, step: Step) -> None:
        now = self.snapshot
        told = Told(boot=now.boot, deadline=LATER, pending=True)
        match step:
            case CreateNsd():
                self.change(created=True, backend="BUILDING", inspected_at=NOW)
            case Inspect():
                self.change(backend="ACTIVE", inspected_at=NOW)
            case Plug(port_id):
                self.change(plugged=(*now.plugged, port_id))
            case Unplug(port_id):
                self.change(plugged=tuple(port for port in now.plugged if port != port_id))
            case TellMonitor():
                self.change(monitor=replace(told, key="monitor"))
            case TellConfig(key):
                self.change(config=replace(told, key=key))
            case TellService(instance_id, key):
                self.bind(instance_id, told=replace(told, key=key))
            case TellRemoval(instance_id):
                self.bind(instance_id, removing=replace(told, key="removal"))
            case DropBinding(instance_id):
                self.change(bindings=tuple(b for b in now.bindings if b.instance_id != instance_id))
            case TellClear():
                self.change(clearing=replace(told, key="clearing"))
            case TellMonitorRemoval():
                self.change(monitor=Told())
            case DeleteNsd():
                self.change(created=False, attempted=False, plugged=())
            case RemoveDevice():
                self.gone = True

    def wait(self) -> None:
        """Everything that can be waited for happens."""
        now = self.snapshot
        self.change(
            boot=now.boot or "b1",
            backend="ACTIVE" if now.backend in ("BUILDING", "UNKNOWN", "ERROR", None) else now.backend,
            inspected_at=NOW,
            health=now.health or "UP",
            config=Told() if now.clearing else replace(now.config, applied=now.config.key, pending=False),
            clearing=None,
            bindings=tuple(
                replace(
                    b, told=replace(b.told, applied=b.told.key, pending=False), removed=b.removing is not None
                )
                for b in now.bindings
            ),
        )


KEYS = st.sampled_from([None, "k", "old"])
BOOTS = st.sampled_from(["b0", "b1"])
TOLDS = st.builds(
    Told,
    key=KEYS,
    pending=st.booleans(),
    boot=BOOTS,
    deadline=st.sampled_from([0.0, LATER]),
    applied=KEYS,
    refused=KEYS,
)
BOUNDS = st.builds(
    Bound,
    instance_id=st.sampled_from(["i", "j"]),
    service_id=st.just("s"),
    unbinding=st.booleans(),
    key=st.just("k"),
    told=TOLDS,
    removing=st.none() | TOLDS,
    removed=st.booleans(),
)
PORTS = st.lists(st.sampled_from(["p", "q", "r"]), unique=True).map(tuple)
SNAPSHOTS = st.builds(
    DeviceSnapshot,
    id=st.just("d"),
    revision=st.just(1),
    wanted_absent=st.booleans(),
    held=st.none(),
    failure=st.sampled_from([None, None, "quota"]),
    attempts=st.just({}),
    created=st.booleans(),
    backend=st.sampled_from([None, "BUILDING", "ACTIVE", "ERROR", "UNKNOWN"]),
    backend_reason=st.just(""),
    inspected_at=st.sampled_from([0.0, NOW]),
    wanted_ports=PORTS,
    plugged=PORTS,
    boot=st.none() | BOOTS,
    monitor=TOLDS,
    config_key=st.just("k"),
    config=TOLDS,
    answering=st.booleans(),
    health=st.sampled_from([None, "UP", "DOWN"]),
    health_reason=st.just(""),
    bindings=st.lists(BOUNDS, max_size=2, unique_by=lambda b: b.instance_id).map(tuple),
)


def _possible(snapshot: DeviceSnapshot) -> DeviceSnapshot:
    """Every binding of a device that is wanted absent is going (``bindings.unbind``)."""
    if not snapshot.wanted_absent:
        return snapshot
    return replace(snapshot, bindings=tuple(replace(b, unbinding=True) for b in snapshot.bindings))


class SettlingTests(SynchronousTestCase):
    @settings(max_examples=400)
    @given(SNAPSHOTS.map(_possible))
    def test_every_device_settles_and_is_then_left_alone(self, snapshot: DeviceSnapshot) -> None:
        world = World(snapshot)
        for _ in range(40):
            action = plan(world.snapshot, NOW, POLICY).action
            if isinstance(action, Settled) or world.gone:
                break
            if isinstance(action, Wait):
                world.wait()
            else:
                world.do(action)
        else:
            self.fail(f"does not settle: {world.snapshot}")
        if world.gone:
            return
        self.assertFalse(snapshot.wanted_absent, "a device that is wanted absent goes")
        self.assertEqual(action, plan(world.snapshot, NOW, POLICY).action)
        if snapshot.failure is None and world.snapshot.config.refused != "k":
            self.assertEqual(set(world.snapshot.wanted_ports), set(world.snapshot.plugged))
            for bound in world.snapshot.bindings:
                self.assertIn("k", (bound.told.applied, bound.told.refused))
