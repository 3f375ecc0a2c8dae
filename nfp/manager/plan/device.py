"""What a network service device needs next.

========================================================  =======================================
observed                                                  step
========================================================  =======================================
held                                                      wait (held by operator)
made, not seen from outside since *stale_before*          :class:`Inspect`
a binding is going, its configuration is on the device    :class:`TellRemoval` / wait (result)
a binding is going, nothing of it is on the device        :class:`DropBinding`
the same, on a device that is wanted absent               (it goes with the device)
wanted absent, its configuration told                     :class:`TellClear` / wait (result)
wanted absent, monitor told                               :class:`TellMonitorRemoval`
wanted absent, an interface is plugged                    :class:`Unplug`
wanted absent, its making was ever begun                  :class:`DeleteNsd`
wanted absent                                             :class:`RemoveDevice`
failed                                                    settled (ERROR, reason)
not created                                               :class:`CreateNsd`
building, or state unknown                                :class:`Inspect` / wait
the outside says ERROR                                    wait (its reason)
an interface is plugged and not wanted (so)               :class:`Unplug`
an interface is wanted and not plugged                    :class:`Plug`
no agent reaches its configurator                         wait (no agent)
monitor not told, or told another boot                    :class:`TellMonitor`
never answered                                            wait (device has not answered yet)
device configuration not told, or told another boot       :class:`TellConfig`
device configuration refused                              settled (ERROR, reason)
a service's configuration not told, or told another boot  :class:`TellService`
a result has not come                                     wait (result, deadline: then told again)
unhealthy                                                 settled (DOWN, reason)
all equal                                                 settled; look again after resync_interval
========================================================  =======================================

*Told* means: recorded as handed to the configurator, before it is (I1), with the boot id of that
configurator, the key of what was told, and the digest that is expected back.  Removals on a device that
goes itself are a courtesy, given up after some tries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nfp.manager.plan.decisions import Decision, Settled, Step, Wait, guarded
from nfp.manager.plan.device_snapshot import DeviceSnapshot
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
from nfp.model.states import BackendStatus, DeviceStatus, Health

NO_AGENT_LOOK = 5.0
BUILDING_LOOK = 1.0
ANSWER_LOOK = 30.0
COURTESY = 5
"""Failed tries after which a device that goes away is not asked any more to clear itself."""


@dataclass(frozen=True)
class Policy:
    """Times that settings decide, in seconds, and how fresh a look from outside must be.

    :ivar stale_before: epoch seconds; a device last seen before that is looked at first.
    """

    resync_interval: float = 300.0
    stale_before: float = 0.0


Rule = Callable[[DeviceSnapshot, float, Policy], Decision | None]


def plan(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision:
    """Decide what the device needs next.

    :param now: epoch seconds.
    """
    for rule in RULES:
        decision = rule(snapshot, now, policy)
        if decision is None:
            continue
        action = decision.action
        if isinstance(action, Step):
            action = guarded(action, snapshot.attempts, now)
        description = decision.description
        if isinstance(action, Wait):
            description = action.reason
        return Decision(action, decision.status, description)
    raise AssertionError("the last rule always decides")


def _pending(snapshot: DeviceSnapshot) -> str:
    if snapshot.wanted_absent:
        return DeviceStatus.PENDING_DELETE
    return DeviceStatus.PENDING_UPDATE if snapshot.config.applied else DeviceStatus.PENDING_CREATE


def _waiting(snapshot: DeviceSnapshot, reason: str, until: float) -> Decision:
    return Decision(Wait(reason, until), _pending(snapshot))


def _doing(snapshot: DeviceSnapshot, step: Step, description: str) -> Decision:
    return Decision(step, _pending(snapshot), description)


def _no_agent(snapshot: DeviceSnapshot, now: float) -> Decision:
    return _waiting(snapshot, "no live agent reaches the configurator", now + NO_AGENT_LOOK)


def held(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    if snapshot.held is None:
        return None
    return _waiting(snapshot, f"held: {snapshot.held}", now + 3600)


def looked(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    """Before all else, for nothing can be told to a device that is gone; its status stays meanwhile."""
    if not snapshot.created:
        return None
    unsure = snapshot.wanted_absent and snapshot.backend == BackendStatus.UNKNOWN
    if snapshot.inspected_at >= policy.stale_before and not (
        unsure and snapshot.inspected_at + ANSWER_LOOK <= now
    ):
        return None
    otherwise = plan(replace(snapshot, inspected_at=float("inf")), now, policy)
    return Decision(Inspect(), otherwise.status, otherwise.description)


def _given_up(snapshot: DeviceSnapshot, step: Step) -> bool:
    failed = snapshot.attempts.get(step.name)
    return snapshot.wanted_absent and failed is not None and failed["count"] >= COURTESY


def _lost(snapshot: DeviceSnapshot) -> bool:
    """Whether there is no device left to be asked: what is to be removed with it needs no word of it."""
    if not snapshot.created or snapshot.backend == BackendStatus.GONE:
        return True
    return snapshot.wanted_absent and snapshot.health == Health.DOWN


def unbinding(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    for bound in snapshot.bindings:
        if not bound.unbinding:
            continue
        removal = TellRemoval(bound.instance_id)
        if _lost(snapshot) or bound.removed or bound.told.key is None or _given_up(snapshot, removal):
            if snapshot.wanted_absent:
                continue
            return _doing(snapshot, DropBinding(bound.instance_id), "removing the service")
        if snapshot.boot is None:
            return _no_agent(snapshot, now)
        told = bound.removing
        if told is None or _lapsed(snapshot, told, now):
            return _doing(snapshot, removal, "removing the service")
        return _waiting(snapshot, "device is removing the service", told.deadline)
    return None


def absent(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    if not snapshot.wanted_absent:
        return None
    gone = snapshot.backend == BackendStatus.GONE
    if snapshot.created and not gone:
        clear = TellClear()
        if snapshot.config.key is not None and not _lost(snapshot) and not _given_up(snapshot, clear):
            if snapshot.boot is None:
                return _no_agent(snapshot, now)
            if snapshot.clearing is None or _lapsed(snapshot, snapshot.clearing, now):
                return _doing(snapshot, clear, "clearing the device")
            return _waiting(snapshot, "clearing the device", snapshot.clearing.deadline)
    if snapshot.monitor.key is not None:
        if snapshot.boot is None:
            return _no_agent(snapshot, now)
        return _doing(snapshot, TellMonitorRemoval(), "ending the monitor")
    if snapshot.created and not gone and snapshot.plugged:
        return _doing(snapshot, Unplug(snapshot.plugged[-1]), "unplugging interfaces")
    if snapshot.created or snapshot.attempted:
        return _doing(snapshot, DeleteNsd(), "removing the device")
    return _doing(snapshot, RemoveDevice(), "removed")


def failed(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    if snapshot.failure is None:
        return None
    return Decision(Settled(), DeviceStatus.ERROR, snapshot.failure)


def outside(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    if not snapshot.created:
        return _doing(snapshot, CreateNsd(), "creating the device")
    match snapshot.backend:
        case BackendStatus.ACTIVE:
            return None
        case BackendStatus.ERROR:
            reason = f"device is in error: {snapshot.backend_reason}"
            again = snapshot.inspected_at + policy.resync_interval
        case _:
            reason = f"device is {str(snapshot.backend).lower()}: {snapshot.backend_reason}".rstrip(": ")
            again = snapshot.inspected_at + BUILDING_LOOK
    if again <= now:
        return Decision(Inspect(), _pending(snapshot), reason)
    return _waiting(snapshot, reason, again)


def interfaces(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    """What goes first makes room: the same outside port may come back under another id of ours."""
    for port_id in snapshot.plugged:
        if port_id not in snapshot.wanted_ports or port_id in snapshot.outdated:
            return _doing(snapshot, Unplug(port_id), "unplugging interfaces")
    for port_id in snapshot.wanted_ports:
        if port_id not in snapshot.plugged:
            return _doing(snapshot, Plug(port_id), "plugging interfaces")
    return None


def monitored(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    if snapshot.boot is None:
        return _no_agent(snapshot, now)
    monitor = snapshot.monitor
    unsure = monitor.pending and _uncertain(snapshot, monitor)
    if monitor.key is None or monitor.boot != snapshot.boot or unsure:
        return _doing(snapshot, TellMonitor(), "starting the monitor")
    if not snapshot.answering and snapshot.health is None:
        return _waiting(snapshot, "device has not answered yet", now + ANSWER_LOOK)
    return None


def _uncertain(snapshot: DeviceSnapshot, told: Told) -> bool:
    """Whether whoever meant to tell this may have died before it did."""
    return bool(told.order) and told.order[0] < snapshot.uncertain_below


def _lapsed(snapshot: DeviceSnapshot, told: Told, now: float) -> bool:
    """Whether no result of this is to be expected any more."""
    return told.boot != snapshot.boot or told.deadline <= now or _uncertain(snapshot, told)


def _in_place(snapshot: DeviceSnapshot, told: Told, key: str) -> bool:
    """Whether *key* was read back from the device after this life of the configurator was told of it."""
    return told.applied == key and told.key == key and not told.pending and told.boot == snapshot.boot


def _due(snapshot: DeviceSnapshot, told: Told, key: str, now: float) -> bool:
    """Whether *key* has to be told, for the first time or again."""
    if told.refused == key or _in_place(snapshot, told, key):
        return False
    return told.key != key or _lapsed(snapshot, told, now)


def configured(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    """All is told before any result is waited for: the configurator keeps a device's requests in order."""
    config, key = snapshot.config, snapshot.config_key
    staying = [bound for bound in snapshot.bindings if not bound.unbinding]
    if _due(snapshot, config, key, now):
        return _doing(snapshot, TellConfig(key), "configuring the device")
    if config.refused == key:
        reason = f"device refused its configuration: {config.refusal}"
        return Decision(Settled(now + policy.resync_interval), DeviceStatus.ERROR, reason)
    for bound in staying:
        if _due(snapshot, bound.told, bound.key, now):
            return _doing(snapshot, TellService(bound.instance_id, bound.key), "configuring the service")
    if not _in_place(snapshot, config, key):
        return _waiting(snapshot, "configuring the device", config.deadline)
    for bound in staying:
        if bound.told.refused != bound.key and not _in_place(snapshot, bound.told, bound.key):
            return _waiting(snapshot, "configuring the service", bound.told.deadline)
    return None


def in_place(snapshot: DeviceSnapshot, now: float, policy: Policy) -> Decision | None:
    look_again = Settled(now + policy.resync_interval)
    if snapshot.health == Health.DOWN:
        return Decision(look_again, DeviceStatus.DOWN, f"device does not answer: {snapshot.health_reason}")
    return Decision(look_again, DeviceStatus.ACTIVE)


RULES: tuple[Rule, ...] = (
    held,
    looked,
    unbinding,
    absent,
    failed,
    outside,
    interfaces,
    monitored,
    configured,
    in_place,
)
