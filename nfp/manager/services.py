"""Network services as a kind of converged object: does the steps of :mod:`nfp.manager.plan.service`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from nfp.manager.directory.register import forget, seen
from nfp.manager.interfaces import ILifeCycleDriver
from nfp.manager.plan import service as planner
from nfp.manager.plan.decisions import Decision, Step
from nfp.manager.store import bindings, snapshots
from nfp.manager.store.engine import Store
from nfp.manager.store.outcome import Outcome, Recording
from nfp.manager.store.snapshots import ServiceView
from nfp.manager.store.tables import NetworkService
from nfp.model.states import ServiceStatus

Tell = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Sends a ``network_service_status_notification`` to all node drivers."""


class ServiceKind:
    """Converges network services.

    :param driver: the lifecycle driver, asked where a service may go.
    :param configurator: name of the service tenant's configurator.
    :param vendors: vendor in a profile → vendor that serves it here.
    :param deployment: bears the devices' markers.
    """

    prefix = "service"
    table: Any = NetworkService.__table__

    def __init__(
        self,
        store: Store,
        driver: ILifeCycleDriver,
        configurator: str,
        vendors: Mapping[str, str],
        deployment: str,
        tell: Tell,
    ) -> None:
        self._store = store
        self._driver = driver
        self._configurator = configurator
        self._vendors = vendors
        self._deployment = deployment
        self._tell = tell

    def read(self, connection: sa.Connection, object_id: str) -> ServiceView | None:
        """Read the service's snapshot."""
        return snapshots.service(connection, object_id, self._vendors)

    def row(self, view: ServiceView) -> dict[str, Any]:
        """The service's row."""
        return view.row

    def decide(self, view: ServiceView, now: float) -> Decision:
        """Ask the planner."""
        return planner.plan(view.snapshot, now)

    def describe(self, row: dict[str, Any], decision: Decision) -> dict[str, Any]:
        """A new status has a revision of its own, which is what gets reported."""
        description = decision.description if decision.status in _EXPLAINED else ""
        if (row["status"], row["status_description"] or "") == (decision.status, description):
            return {}
        changed: dict[str, Any] = {"status": decision.status, "status_description": description}
        if row["status"] != decision.status or decision.status in _EXPLAINED:
            changed["status_revision"] = row["status_revision"] + 1
        if decision.status == ServiceStatus.ACTIVE:
            changed["was_active"] = True
        return changed

    def announce(self, connection: sa.Connection, row: dict[str, Any], changed: dict[str, Any]) -> list[str]:
        """Nobody waits for a service; its instances show what it is."""
        if "status" in changed:
            bindings.set_instance_status(connection, row["id"], changed["status"])
        return []

    def reserve(self, connection: sa.Connection, object_id: str, step: object) -> None:
        """What writes to a device locks it first, as the device's own news do."""
        if isinstance(step, planner.HandOver | planner.Unbind | planner.Fail):
            bindings.lock_devices(connection, object_id)

    async def perform(self, step: Step, view: ServiceView, fence: int) -> Recording:
        """Do one step."""
        match step:
            case planner.Bind():
                return await self._bind(view)
            case planner.HandOver(spec_digest):
                return self._hand_over(view, spec_digest)
            case planner.Unbind():
                return _unbind
            case planner.Fail(reason):
                return _fail(reason, view.row["revision"])
            case planner.Report(status, description):
                return await self._report(view, status, description)
            case planner.Remove():
                return _remove
        raise TypeError(f"no such step: {step!r}")

    async def _bind(self, view: ServiceView) -> Recording:
        # A copy: drivers are others' code, and who looks at the service later gets the same spec.
        spec, digest = deepcopy(view.spec), view.snapshot.spec_digest
        assert spec is not None and digest is not None, "a service without a spec has failed"
        sharing = await self._driver.get_nsd_sharing_info(spec)
        device_ids, taken = await self._store.read(bindings.candidates, spec, sharing)
        chosen = None
        if device_ids:
            devices = [
                await self._store.read(snapshots.device, name, self._deployment) for name in device_ids
            ]
            candidates = [device.nsd for device in devices if device is not None]
            chosen = await self._driver.select_nsd(spec, candidates)
        placement = bindings.Placement(
            driver=self._driver.name,
            configurator=self._configurator,
            # A device beside the one that has the key cannot have it too.
            sharing=replace(sharing, sharing_key=None) if taken and chosen is None else sharing,
            flavor=view.flavor,
            port_policy=_policies(view.row["wanted"]),
            device_id=chosen.id if chosen is not None else None,
        )

        def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
            device_id = bindings.bind(connection, spec, digest, placement)
            if device_id is None:
                return Outcome({}, note=f"device {placement.device_id} cannot be shared any more")
            return Outcome({}, [f"device:{device_id}"], note=f"device {device_id}")

        return record

    def _hand_over(self, view: ServiceView, digest: str) -> Recording:
        spec = view.spec
        assert spec is not None, "a service without a spec has failed"

        def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
            policies = _policies(view.row["wanted"])
            device_ids = bindings.hand_over(connection, spec, digest, policies)
            return Outcome({}, [f"device:{name}" for name in device_ids])

        return record

    async def _report(self, view: ServiceView, status: str, description: str) -> Recording:
        row = view.row
        revision = row["status_revision"]
        await self._tell(
            {
                "network_service_id": row["id"],
                "service_id": row["service_id"],
                "service_chain_id": row["service_chain_id"],
                "status": status,
                "status_description": description,
                "status_revision": revision,
            }
        )

        def record(connection: sa.Connection, fresh: dict[str, Any]) -> Outcome:
            return Outcome({"reported_revision": revision}, note=f"{status} {description}".strip())

        return record


_EXPLAINED = (ServiceStatus.ACTIVE, ServiceStatus.ERROR, ServiceStatus.DOWN, ServiceStatus.DELETED)
"""States that stay; the words of a passing one are read from the device and from ``waiting_for``."""


def _policies(wanted: Mapping[str, Any]) -> dict[str, str]:
    sides = {side: wanted.get(side) or {} for side in ("provider", "consumer")}
    return {side: value.get("port_model") or "neutron_port" for side, value in sides.items()}


def _unbind(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
    return Outcome({}, [f"device:{name}" for name in bindings.unbind(connection, row["id"])])


def _fail(reason: str, seen: int) -> Recording:
    def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
        if row["revision"] != seen:
            return Outcome({}, note="something else is wanted by now")
        device_ids = bindings.unbind(connection, row["id"])
        return Outcome({"failure": reason}, [f"device:{name}" for name in device_ids], note=reason)

    return record


def _remove(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
    bindings.remove_service(connection, row["id"])
    forget(connection, *seen(row["wanted"]))
    return Outcome({}, gone=True)
