"""What the steps of a device store: facts about it, and what its configurator was told.

Facts live in the ``observed`` document of the row; every change is made on the row as it is in the
recording transaction, for notifications change it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from nfp.manager.plan.told import Told, told_of
from nfp.manager.store import bindings, rows
from nfp.manager.store.outcome import Outcome, Recording
from nfp.manager.store.tables import NetworkServiceInstance, PortInfo

_INSTANCES: Any = NetworkServiceInstance.__table__
_PORTS: Any = PortInfo.__table__


def recorded(facts: Mapping[str, Any], columns: Mapping[str, Any] | None = None, note: str = "") -> Recording:
    """Record facts about the device, and columns of its row."""

    def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
        address = (columns or {}).get("management_address")
        if address is not None:
            connection.execute(
                sa.update(_PORTS).where(_PORTS.c.id == row["mgmt_port_id"]).values(addresses=[address])
            )
        return Outcome({"observed": {**row["observed"], **facts}, **(columns or {})}, note=note)

    return record


def lost(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
    """Record that the device is gone: it has to be made and told again, and its services hear of it (I3)."""
    kept = {name: value for name, value in row["observed"].items() if name in ("flavor", "attempted")}
    monitor = told_of(row["observed"].get("monitor"))
    if monitor.key is not None:
        kept["monitor"] = asdict(replace(monitor, boot=None))
    for instance in rows.where(connection, _INSTANCES, "nsd_id", row["id"]):
        rows.put(connection, _INSTANCES, instance["id"], {"observed": {}})
    service_ids = bindings.services_of(connection, row["id"])
    bindings.bump_services(connection, service_ids)
    wake = [f"service:{name}" for name in service_ids]
    return Outcome({"observed": kept, "backend_id": None}, wake, note="the device is gone")


def plugged(port_id: str, laid: Mapping[str, Any] | None) -> Recording:
    """Record an interface that was plugged, or (``None``) unplugged."""

    def record(connection: sa.Connection, row: dict[str, Any]) -> Outcome:
        interfaces = {
            name: value for name, value in row["observed"].get("interfaces", {}).items() if name != port_id
        }
        if laid is not None:
            interfaces[port_id] = laid
        return Outcome({"observed": {**row["observed"], "interfaces": interfaces}}, note=f"port {port_id}")

    return record


@dataclass(frozen=True)
class Place:
    """Where it is kept what the configurator was told.

    :ivar name: ``monitor``, ``config``, ``clearing`` of the device; ``told``, ``removing`` of an instance.
    :ivar instance_id: ``None``: about the device itself.
    """

    name: str
    instance_id: str | None = None

    def put(self, what: Told) -> Recording:
        """Record what is about to be told."""
        return lambda connection, row: self._change(connection, row, lambda known: what)

    def correct(self, order: tuple[int, ...], **changes: Any) -> Recording:
        """Change what was told with that *order*; anything newer stays."""

        def change(known: Told) -> Told:
            return replace(known, **changes) if known.order == order else known

        return lambda connection, row: self._change(connection, row, change)

    def unsent(self, order: tuple[int, ...]) -> Recording:
        """Nobody knows whether what has that *order* arrived: tell it again, unless its result came."""

        def change(known: Told) -> Told:
            return (
                replace(known, boot=None, deadline=0.0) if known.order == order and known.pending else known
            )

        return lambda connection, row: self._change(connection, row, change)

    def _change(
        self, connection: sa.Connection, row: dict[str, Any], change: Callable[[Told], Told]
    ) -> Outcome:
        if self.instance_id is None:
            what = change(told_of(row["observed"].get(self.name)))
            return Outcome({"observed": {**row["observed"], self.name: asdict(what)}}, note=_note(what))
        instance = rows.get(connection, _INSTANCES, self.instance_id, lock=True)
        if instance is None:
            return Outcome({})
        what = change(told_of(instance["observed"].get(self.name)))
        observed = {**instance["observed"], self.name: asdict(what)}
        rows.put(connection, _INSTANCES, self.instance_id, {"observed": observed})
        wake = []
        if what.refused is not None:
            bindings.bump_services(connection, [instance["network_service_id"]])
            wake.append(f"service:{instance['network_service_id']}")
        return Outcome({}, wake, note=_note(what))


def service_of(connection: sa.Connection, instance_id: str) -> list[str]:
    """The service of an instance, as a list of one or none."""
    query = sa.select(_INSTANCES.c.network_service_id).where(_INSTANCES.c.id == instance_id)
    return list(connection.execute(query).scalars())


def _note(what: Told) -> str:
    if what.refused is not None and what.refused == what.key:
        return f"refused: {what.refusal}"
    return f"order {list(what.order)}"
