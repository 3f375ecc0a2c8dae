"""What the steps of a service store: its binding to a device, and its end (invariants I1, I2).

A service never touches a device; it writes what it wants there and bumps the device.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from nfp.daemon.journal import request_id
from nfp.manager.store import rows
from nfp.manager.store.tables import (
    InstancePort,
    NetworkService,
    NetworkServiceDevice,
    NetworkServiceInstance,
    PortInfo,
)
from nfp.model.devices import NetworkServiceSpec, SharingInfo
from nfp.model.states import DeviceStatus, ServiceStatus

_SERVICES: Any = NetworkService.__table__
_INSTANCES: Any = NetworkServiceInstance.__table__
_INSTANCE_PORTS: Any = InstancePort.__table__
_DEVICES: Any = NetworkServiceDevice.__table__
_PORTS: Any = PortInfo.__table__


@dataclass(frozen=True)
class Placement:
    """Where a service may go.

    :ivar device_id: the device that the driver chose to share, if any; ``None``: a new one.
    :ivar configurator: name of the service tenant's configurator.
    :ivar port_policy: per classification ``neutron_port`` or ``gbp_policy_target``.
    """

    driver: str
    configurator: str
    sharing: SharingInfo
    flavor: Mapping[str, str]
    port_policy: Mapping[str, str]
    device_id: str | None = None


def candidates(
    connection: sa.Connection, spec: NetworkServiceSpec, sharing: SharingInfo
) -> tuple[list[str], bool]:
    """Ids of live devices that *spec* may share and that have room; and whether the sharing key is taken."""
    if sharing.sharing_key is None:
        return [], False
    query = sa.select(_DEVICES.c.id, _DEVICES.c.service_vendor).where(
        _DEVICES.c.sharing_key == sharing.sharing_key, ~_DEVICES.c.wanted_absent
    )
    found = rows.every(connection, query)
    fit = [row["id"] for row in found if row["service_vendor"] == spec.service_vendor and sharing.shareable]
    return [name for name in fit if _services_on(connection, name) < sharing.services], bool(found)


def bind(
    connection: sa.Connection, spec: NetworkServiceSpec, spec_digest: str, placement: Placement
) -> str | None:
    """Bind a service to the device chosen, or to a new one, and hand its configuration over.

    :return: the device's id; ``None``: the one chosen is going away, or full, by now: choose again.
    :raises sqlalchemy.exc.IntegrityError: another service made the device of the same sharing key
        meanwhile; choose again.
    """
    device_id = placement.device_id
    if device_id is not None:
        device = rows.get(connection, _DEVICES, device_id, lock=True)
        full = _services_on(connection, device_id) >= placement.sharing.services
        if device is None or device["wanted_absent"] or full:
            return None
        _begin_afresh(connection, device)
    else:
        device_id = _insert_device(connection, spec, placement)
    instance_id = str(uuid.uuid4())
    port_ids = _insert_ports(connection, spec, placement.port_policy, device_id)
    connection.execute(
        sa.insert(_INSTANCES).values(
            id=instance_id,
            tenant_id=spec.tenant_id,
            network_service_id=spec.id,
            nsd_id=device_id,
            ha_state="active",
            status=ServiceStatus.PENDING_CREATE,
            wanted={"spec": asdict(spec), "spec_digest": spec_digest},
        )
    )
    _set_ports(connection, instance_id, port_ids)
    bump_device(connection, device_id)
    return device_id


def hand_over(
    connection: sa.Connection, spec: NetworkServiceSpec, spec_digest: str, port_policy: Mapping[str, str]
) -> list[str]:
    """Write the configuration and the ports wanted now to the binding; gives the devices concerned."""
    query = sa.select(_INSTANCES.c.id, _INSTANCES.c.nsd_id).where(
        _INSTANCES.c.network_service_id == spec.id, ~_INSTANCES.c.unbinding
    )
    for instance in rows.every(connection, query):
        device = rows.get(connection, _DEVICES, instance["nsd_id"], lock=True)
        assert device is not None, "an instance has a device"
        _begin_afresh(connection, device)
        connection.execute(
            sa.update(_INSTANCES)
            .where(_INSTANCES.c.id == instance["id"])
            .values(wanted={"spec": asdict(spec), "spec_digest": spec_digest})
        )
        port_ids = _insert_ports(connection, spec, port_policy, instance["nsd_id"])
        _set_ports(connection, instance["id"], port_ids)
    return _bump_devices_of(connection, spec.id)


def unbind(connection: sa.Connection, service_id: str) -> list[str]:
    """Ask the device to take the service off; the last one to go takes the device with it."""
    mine = _INSTANCES.c.network_service_id == service_id
    connection.execute(sa.update(_INSTANCES).where(mine).values(unbinding=True))
    device_ids = _bump_devices_of(connection, service_id)
    for device_id in device_ids:
        query = sa.select(sa.func.count()).where(_INSTANCES.c.nsd_id == device_id, ~_INSTANCES.c.unbinding)
        if connection.execute(query).scalar_one() == 0:
            connection.execute(
                sa.update(_DEVICES)
                .where(_DEVICES.c.id == device_id)
                .values(
                    wanted_absent=True,
                    sharing_key=None,
                    failure=None,
                    attempts={},
                    status=DeviceStatus.PENDING_DELETE,
                )
            )
    return device_ids


def remove_service(connection: sa.Connection, service_id: str) -> None:
    """Remove the row of a service that is off every device."""
    connection.execute(sa.delete(_SERVICES).where(_SERVICES.c.id == service_id))


def drop_instance(connection: sa.Connection, instance_id: str) -> None:
    """Remove an instance, and those of its ports that no other instance has."""
    _set_ports(connection, instance_id, [])
    connection.execute(sa.delete(_INSTANCES).where(_INSTANCES.c.id == instance_id))


def remove_device(connection: sa.Connection, device_id: str) -> list[str]:
    """Remove the rows of a device that is gone; gives the services that were bound to it."""
    bound = rows.every(
        connection,
        sa.select(_INSTANCES.c.id, _INSTANCES.c.network_service_id).where(_INSTANCES.c.nsd_id == device_id),
    )
    for instance in bound:
        drop_instance(connection, instance["id"])
    query = sa.select(_DEVICES.c.mgmt_port_id).where(_DEVICES.c.id == device_id)
    mgmt_port_id = connection.execute(query).scalar()
    connection.execute(sa.delete(_DEVICES).where(_DEVICES.c.id == device_id))
    connection.execute(sa.delete(_PORTS).where(_PORTS.c.id == mgmt_port_id))
    service_ids = [instance["network_service_id"] for instance in bound]
    bump_services(connection, service_ids)
    return service_ids


def lock_devices(connection: sa.Connection, service_id: str) -> None:
    """Lock the devices of a service before the service itself, as those do that bring their news."""
    mine = sa.select(_INSTANCES.c.nsd_id).where(_INSTANCES.c.network_service_id == service_id)
    query = sa.select(_DEVICES.c.id).where(_DEVICES.c.id.in_(mine)).order_by(_DEVICES.c.id)
    connection.execute(query.with_for_update()).all()


def set_instance_status(connection: sa.Connection, service_id: str, status: str) -> None:
    """An instance is what its service is."""
    connection.execute(
        sa.update(_INSTANCES).where(_INSTANCES.c.network_service_id == service_id).values(status=status)
    )


def bump_device(connection: sa.Connection, device_id: str) -> None:
    """A new fact about a device (I3), due to the request that is being worked on."""
    values: dict[str, Any] = {"revision": _DEVICES.c.revision + 1}
    if request_id.get() is not None:
        values["request_id"] = request_id.get()
    connection.execute(sa.update(_DEVICES).where(_DEVICES.c.id == device_id).values(**values))


def bump_services(connection: sa.Connection, service_ids: list[str]) -> None:
    """A new fact about services (I3)."""
    if service_ids:
        connection.execute(
            sa.update(_SERVICES)
            .where(_SERVICES.c.id.in_(service_ids))
            .values(revision=_SERVICES.c.revision + 1)
        )


def services_of(connection: sa.Connection, device_id: str) -> list[str]:
    """Ids of the services bound to a device."""
    query = sa.select(_INSTANCES.c.network_service_id).where(_INSTANCES.c.nsd_id == device_id)
    return list(connection.execute(query).scalars())


def _begin_afresh(connection: sa.Connection, device: Mapping[str, Any]) -> None:
    """Something else is wanted of a device: what it failed at or refused before may work now."""
    observed, config = device["observed"], device["observed"].get("config") or {}
    if config.get("refused") is not None:
        observed = {**observed, "config": {**config, "refused": None, "refusal": "", "deadline": 0.0}}
    rows.put(connection, _DEVICES, device["id"], {"observed": observed, "failure": None, "attempts": {}})


def _services_on(connection: sa.Connection, device_id: str) -> int:
    query = sa.select(sa.func.count()).where(_INSTANCES.c.nsd_id == device_id)
    count: int = connection.execute(query).scalar_one()
    return count


def _bump_devices_of(connection: sa.Connection, service_id: str) -> list[str]:
    query = sa.select(_INSTANCES.c.nsd_id).where(_INSTANCES.c.network_service_id == service_id)
    device_ids = list(connection.execute(query).scalars())
    for device_id in device_ids:
        bump_device(connection, device_id)
    return device_ids


def _insert_device(connection: sa.Connection, spec: NetworkServiceSpec, placement: Placement) -> str:
    device_id, mgmt_port_id = str(uuid.uuid4()), str(uuid.uuid4())
    now = time.time()
    connection.execute(sa.insert(_PORTS).values(id=mgmt_port_id, port_policy="neutron_port", owner="own"))
    connection.execute(
        sa.insert(_DEVICES).values(
            id=device_id,
            tenant_id=spec.tenant_id,
            mgmt_port_id=mgmt_port_id,
            service_vendor=spec.service_vendor,
            service_types=[spec.service_type],
            status=DeviceStatus.PENDING_CREATE,
            driver=placement.driver,
            configurator=placement.configurator,
            sharing_key=placement.sharing.sharing_key,
            observed={"flavor": dict(placement.flavor)},
            created_at=now,
            updated_at=now,
        )
    )
    return device_id


def _insert_ports(
    connection: sa.Connection, spec: NetworkServiceSpec, port_policy: Mapping[str, str], device_id: str
) -> list[str]:
    """PortInfo rows of the service's ports; a port that the device has already is shared, as it is now."""
    query = (
        sa.select(_PORTS.c.backend_id, _PORTS.c.id)
        .join(_INSTANCE_PORTS, _INSTANCE_PORTS.c.port_id == _PORTS.c.id)
        .join(_INSTANCES, _INSTANCES.c.id == _INSTANCE_PORTS.c.instance_id)
        .where(_INSTANCES.c.nsd_id == device_id)
    )
    known = {row["backend_id"]: row["id"] for row in rows.every(connection, query)}
    port_ids = []
    for port in spec.ports:
        port_id = known.get(port.backend_id)
        values = {
            "port_policy": port_policy.get(port.classification, "neutron_port"),
            "port_classification": port.classification,
            "network_id": port.network_id,
            "mac_address": port.mac_address,
            "addresses": list(port.addresses),
        }
        if port_id is not None:
            rows.put(connection, _PORTS, port_id, values)
        else:
            port_id = str(uuid.uuid4())
            given = {"id": port_id, "backend_id": port.backend_id, "port_type": "active", "owner": "given"}
            connection.execute(sa.insert(_PORTS).values(**given, **values))
        port_ids.append(port_id)
    return port_ids


def _set_ports(connection: sa.Connection, instance_id: str, port_ids: list[str]) -> None:
    """Make *port_ids* the ports of an instance; a port that no instance has any more goes."""
    had = list(
        connection.execute(
            sa.select(_INSTANCE_PORTS.c.port_id).where(_INSTANCE_PORTS.c.instance_id == instance_id)
        ).scalars()
    )
    connection.execute(sa.delete(_INSTANCE_PORTS).where(_INSTANCE_PORTS.c.instance_id == instance_id))
    for position, port_id in enumerate(port_ids):
        connection.execute(
            sa.insert(_INSTANCE_PORTS).values(instance_id=instance_id, port_id=port_id, position=position)
        )
    query = sa.select(_INSTANCE_PORTS.c.port_id).where(_INSTANCE_PORTS.c.port_id.in_(had))
    still = set(connection.execute(query).scalars())
    gone = [port_id for port_id in had if port_id not in still]
    connection.execute(sa.delete(_PORTS).where(_PORTS.c.id.in_(gone)))
