"""Network service devices as a kind of converged object: does the steps of :mod:`nfp.manager.plan.device`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from twisted.internet.interfaces import IReactorTime

from nfp.manager.instruct import Instruction, Instructor
from nfp.manager.interfaces import ILifeCycleDriver
from nfp.manager.plan import device as planner
from nfp.manager.plan import device_steps as steps
from nfp.manager.plan.decisions import Decision, Step
from nfp.manager.plan.device import Policy
from nfp.manager.plan.told import Told, telling
from nfp.manager.store import bindings, observations, snapshots
from nfp.manager.store.observations import Place
from nfp.manager.store.outcome import Intent, Outcome, Recording
from nfp.manager.store.snapshots import DeviceView
from nfp.manager.store.tables import NetworkServiceDevice
from nfp.model.devices import PluggedInterface, Port
from nfp.model.states import BackendStatus, DeviceStatus

_LOUD = (DeviceStatus.DOWN, DeviceStatus.ERROR)
"""States of a device that its services have to hear of, coming and going."""


class DeviceKind:
    """Converges devices.

    :param driver: the lifecycle driver, whose blocking parts run in threads already.
    :param instructor: tells the configurator.
    :param policy: gives the times in force at a moment.
    """

    prefix = "device"
    table: Any = NetworkServiceDevice.__table__

    def __init__(
        self,
        driver: ILifeCycleDriver,
        instructor: Instructor,
        deployment: str,
        policy: Callable[[float], Policy],
        clock: IReactorTime,
    ) -> None:
        self._driver = driver
        self._instructor = instructor
        self._deployment = deployment
        self._policy = policy
        self._clock = clock

    def read(self, connection: sa.Connection, object_id: str) -> DeviceView | None:
        """Read the device's snapshot."""
        return snapshots.device(connection, object_id, self._deployment)

    def row(self, view: DeviceView) -> dict[str, Any]:
        """The device's row."""
        return view.row

    def decide(self, view: DeviceView, now: float) -> Decision:
        """Ask the planner."""
        return planner.plan(view.snapshot, now, self._policy(now))

    def describe(self, row: dict[str, Any], decision: Decision) -> dict[str, Any]:
        """What the device is doing is its description."""
        if (row["status"], row["status_description"] or "") == (decision.status, decision.description):
            return {}
        return {"status": decision.status, "status_description": decision.description}

    def announce(self, connection: sa.Connection, row: dict[str, Any], changed: dict[str, Any]) -> list[str]:
        """Services hear when their device fails, goes down or comes back."""
        status = changed.get("status", row["status"])
        loud = status != row["status"] and (status in _LOUD or row["status"] in _LOUD)
        if not loud and not (changed.get("failure") and changed["failure"] != row["failure"]):
            return []
        service_ids = bindings.services_of(connection, row["id"])
        bindings.bump_services(connection, service_ids)
        return [f"service:{name}" for name in service_ids]

    def reserve(self, connection: sa.Connection, object_id: str, step: object) -> None:
        """A device is what others are locked after."""

    async def perform(self, step: Step, view: DeviceView, fence: int) -> Recording | Intent:
        """Do one step."""
        match step:
            case steps.CreateNsd():
                attempted = observations.recorded({"attempted": True})
                return Intent(attempted, lambda: self._create(view), attempted)
            case steps.Inspect():
                return await self._inspect(view)
            case steps.Plug(port_id):
                return await self._plug(view, port_id)
            case steps.Unplug(port_id):
                return await self._unplug(view, port_id)
            case steps.DeleteNsd():
                await self._driver.delete_nsd(view.nsd)
                return observations.recorded({"created": False, "attempted": False, "interfaces": {}})
            case steps.DropBinding(instance_id):
                return _drop(instance_id)
            case steps.RemoveDevice():
                return _remove
        return await self._tell(step, view, fence)

    async def _create(self, view: DeviceView) -> Recording:
        created = await self._driver.create_nsd(view.nsd)
        ports = {port.id: port for port in view.nsd.ports}
        facts = {
            "created": True,
            "gone_seen": 0,
            "backend": BackendStatus.ACTIVE if created.answering else BackendStatus.BUILDING,
            "backend_reason": "",
            "inspected_at": self._clock.seconds(),
            "answering": created.answering,
            "interfaces": {
                interface.port_id: _laid(interface, ports[interface.port_id])
                for interface in created.interfaces
            },
        }
        columns = {"backend_id": created.backend_id, "management_address": created.management_address}
        return observations.recorded(facts, columns)

    async def _inspect(self, view: DeviceView) -> Recording:
        found = await self._driver.get_nsd_status(view.nsd)
        now = self._clock.seconds()
        if found.status != BackendStatus.GONE:
            facts = {
                "backend": found.status,
                "backend_reason": found.reason,
                "inspected_at": now,
                "gone_seen": 0,
            }
            return observations.recorded(facts)
        if not view.row["observed"].get("gone_seen"):
            facts = {
                "gone_seen": 1,
                "backend": BackendStatus.UNKNOWN,
                "backend_reason": "it was not found; looking again",
                "inspected_at": now,
            }
            return observations.recorded(facts, note="not found; looking again")
        return observations.lost

    async def _plug(self, view: DeviceView, port_id: str) -> Recording:
        port = next(port for port in view.nsd.ports if port.id == port_id)
        interface = await self._driver.plug_nsd_interface(view.nsd, port)
        return observations.plugged(port_id, _laid(interface, port))

    async def _unplug(self, view: DeviceView, port_id: str) -> Recording:
        laid = view.row["observed"]["interfaces"][port_id]
        await self._driver.unplug_nsd_interface(view.nsd, snapshots.port_from(laid["port"]))
        return observations.plugged(port_id, None)

    async def _tell(self, step: Step, view: DeviceView, fence: int) -> Recording | Intent:
        order = (fence, view.snapshot.revision)
        make = self._instructor
        match step:
            case steps.TellMonitor():
                return self._intent(await make.monitor(view, order), Place("monitor"), view.snapshot.monitor)
            case steps.TellConfig(key):
                return self._intent(
                    await make.configure(view, order, key), Place("config"), view.snapshot.config
                )
            case steps.TellService(instance_id, key):
                known = next(b.told for b in view.snapshot.bindings if b.instance_id == instance_id)
                return self._intent(
                    await make.serve(view, order, instance_id, key), Place("told", instance_id), known
                )
            case steps.TellRemoval(instance_id):
                return self._intent(
                    await make.remove(view, order, instance_id), Place("removing", instance_id)
                )
            case steps.TellClear():
                return self._intent(await make.clear(view, order), Place("clearing"))
            case steps.TellMonitorRemoval():
                await make.send(await make.end_monitor(view, order))
                return observations.recorded({"monitor": None})
        raise TypeError(f"no such step: {step!r}")

    def _intent(self, instruction: Instruction, place: Place, known: Told | None = None) -> Intent:
        """Record what is about to be told at *place*, over what is *known* to be there from before."""
        kept = known or Told()
        told = telling(instruction.told, kept)

        async def effect() -> Recording | None:
            changes = await self._instructor.send(instruction)
            return place.correct(told.order, **changes) if changes else None

        return Intent(place.put(told), effect, place.unsent(told.order))


def _laid(interface: PluggedInterface, port: Port) -> Mapping[str, Any]:
    return {"interface": asdict(interface), "port": asdict(port)}


def _drop(instance_id: str) -> Recording:
    def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
        service_ids = observations.service_of(connection, instance_id)
        bindings.drop_instance(connection, instance_id)
        bindings.bump_services(connection, service_ids)
        attempts = {name: kept for name, kept in row["attempts"].items() if not name.endswith(instance_id)}
        return Outcome({"attempts": attempts}, [f"service:{name}" for name in service_ids])

    return record


def _remove(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
    service_ids = bindings.remove_device(connection, row["id"])
    return Outcome({}, [f"service:{name}" for name in service_ids], gone=True)
