"""Reads what the planner decides on, whole and at one revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import sqlalchemy as sa

from nfp.manager.plan.device_snapshot import Bound, DeviceSnapshot
from nfp.manager.plan.service import Binding, ServiceSnapshot
from nfp.manager.plan.told import told_of
from nfp.manager.store import rows
from nfp.manager.store.leases import AGENT_LIFE
from nfp.manager.store.service_rows import registers_of
from nfp.manager.store.tables import (
    AgentRecord,
    InstancePort,
    NetworkService,
    NetworkServiceDevice,
    NetworkServiceInstance,
    PortInfo,
    clock,
)
from nfp.model.derived import derive
from nfp.model.devices import NetworkServiceSpec, Nsd, PluggedInterface, Port, Route
from nfp.model.digest import digest
from nfp.model.errors import Invalid
from nfp.model.services import flavor_of
from nfp.model.states import Health

_SERVICES: Any = NetworkService.__table__
_INSTANCES: Any = NetworkServiceInstance.__table__
_INSTANCE_PORTS: Any = InstancePort.__table__
_DEVICES: Any = NetworkServiceDevice.__table__
_PORTS: Any = PortInfo.__table__
_AGENTS: Any = AgentRecord.__table__


_BINDING = (
    sa.select(
        _INSTANCES.c.nsd_id,
        _INSTANCES.c.unbinding,
        _INSTANCES.c.wanted,
        _INSTANCES.c.observed,
        _DEVICES.c.status_description.label("device_description"),
        _DEVICES.c.failure.label("device_failure"),
        _DEVICES.c.wanted_absent.label("device_absent"),
        _DEVICES.c.observed.label("device_observed"),
    )
    .join_from(_INSTANCES, _DEVICES, _INSTANCES.c.nsd_id == _DEVICES.c.id)
    .where(_INSTANCES.c.network_service_id == sa.bindparam("service_id"))
)
_HOLDING = (
    sa.select(_INSTANCES.c.network_service_id)
    .join(_INSTANCE_PORTS, _INSTANCE_PORTS.c.instance_id == _INSTANCES.c.id)
    .join(_PORTS, _PORTS.c.id == _INSTANCE_PORTS.c.port_id)
    .join(_DEVICES, _DEVICES.c.id == _INSTANCES.c.nsd_id)
    .join(_SERVICES, _SERVICES.c.id == _INSTANCES.c.network_service_id)
    .where(
        _PORTS.c.backend_id.in_(sa.bindparam("ports", expanding=True)),
        sa.or_(_DEVICES.c.wanted_absent, _SERVICES.c.wanted_absent),
        _INSTANCES.c.network_service_id != sa.bindparam("service_id"),
    )
    .limit(1)
)
_PORTS_OF = (
    sa.select(_PORTS)
    .join(_INSTANCE_PORTS, _INSTANCE_PORTS.c.port_id == _PORTS.c.id)
    .where(_INSTANCE_PORTS.c.instance_id.in_(sa.bindparam("instances", expanding=True)))
    .order_by(_INSTANCE_PORTS.c.instance_id, _INSTANCE_PORTS.c.position)
)
_LIVE_AGENTS = (
    sa.select(_AGENTS)
    .where(_AGENTS.c.reported_at > clock() - AGENT_LIFE)
    .order_by(_AGENTS.c.reported_at.desc())
)


class ServiceView(NamedTuple):
    """A service's snapshot, and what its steps need beside it."""

    snapshot: ServiceSnapshot
    row: dict[str, Any]
    spec: NetworkServiceSpec | None
    flavor: Mapping[str, str]


class DeviceView(NamedTuple):
    """A device's snapshot, and what its steps need beside it.

    :ivar specs: per instance id the spec that was handed over.
    :ivar handed: per instance id what was handed over, with its digest.
    :ivar interfaces: the data interfaces that are plugged and wanted, in the order of ``nsd.ports``.
    :ivar agent: host of a live agent that reaches the configurator.
    """

    snapshot: DeviceSnapshot
    row: dict[str, Any]
    nsd: Nsd
    specs: Mapping[str, NetworkServiceSpec]
    handed: Mapping[str, Mapping[str, Any]]
    interfaces: tuple[PluggedInterface, ...]
    agent: str | None


def service(connection: sa.Connection, service_id: str, vendors: Mapping[str, str]) -> ServiceView | None:
    """Read a service."""
    row = rows.get(connection, _SERVICES, service_id)
    if row is None:
        return None
    registers = registers_of(row)
    derived, failure = None, row["failure"]
    if not row["wanted_absent"] and failure is None:
        try:
            derived = derive(row, registers, vendors)
        except Invalid as error:
            failure = str(error)
    spec = None if derived is None else derived.spec
    binding = _binding(connection, service_id)
    snapshot = ServiceSnapshot(
        id=service_id,
        revision=row["revision"],
        wanted_absent=row["wanted_absent"],
        held=row["held"],
        failure=failure,
        was_active=row["was_active"],
        status=row["status"],
        description=row["status_description"],
        reported=row["reported_revision"] >= row["status_revision"],
        attempts=row["attempts"],
        spec_digest=None if derived is None else derived.digest,
        binding=binding,
        ports_held_by=None if spec is None or binding is not None else _held_by(connection, spec),
        notice=row["notice"] or "",
    )
    return ServiceView(snapshot, row, spec, flavor_of(registers.get("service_profile") or {}))


def _binding(connection: sa.Connection, service_id: str) -> Binding | None:
    row = rows.first(connection, _BINDING, {"service_id": service_id})
    if row is None:
        return None
    told = told_of(row["observed"].get("told"))
    config = told_of(row["device_observed"].get("config"))
    device_failure = row["device_failure"]
    if device_failure is None and config.key is not None and config.refused == config.key:
        device_failure = f"device refused its configuration: {config.refusal}"
    return Binding(
        nsd_id=row["nsd_id"],
        unbinding=row["unbinding"],
        handed=row["wanted"].get("spec_digest"),
        applied=told.applied_about if told.applied_about == told.about else None,
        refused=told.refused_about,
        refusal=told.refusal,
        device_down=_down(row["device_observed"].get("health") or {}),
        device_description=row["device_description"] or "",
        device_failure=device_failure,
        device_absent=row["device_absent"],
    )


def _down(health: Mapping[str, Any]) -> str | None:
    if health.get("status") != Health.DOWN:
        return None
    return f"device does not answer: {health.get('reason') or 'no reason given'}"


def _held_by(connection: sa.Connection, spec: NetworkServiceSpec) -> str | None:
    """A service that is going away, or whose device is, and that still has one of these ports."""
    wanted = [port.backend_id for port in spec.ports if port.backend_id]
    found: str | None = connection.execute(_HOLDING, {"ports": wanted, "service_id": spec.id}).scalar()
    return found


def device(connection: sa.Connection, device_id: str, deployment: str) -> DeviceView | None:
    """Read a device."""
    row = rows.get(connection, _DEVICES, device_id)
    if row is None:
        return None
    observed = row["observed"]
    instances = rows.where(connection, _INSTANCES, "nsd_id", device_id)
    staying = [instance for instance in instances if not instance["unbinding"]]
    ports = _ports_of(connection, [instance["id"] for instance in staying])
    specs = {
        instance["id"]: spec_from(instance["wanted"]["spec"])
        for instance in instances
        if instance["wanted"].get("spec")
    }
    routes = tuple(dict.fromkeys(route for instance in staying for route in specs[instance["id"]].routes))
    plugged: Mapping[str, Any] = observed.get("interfaces") or {}
    interfaces = tuple(interface_from(plugged[port.id]["interface"]) for port in ports if port.id in plugged)
    agent, boot = _agent(connection, row["configurator"])
    nsd = Nsd(
        id=device_id,
        tenant_id=row["tenant_id"],
        deployment=deployment,
        service_vendor=row["service_vendor"] or "",
        service_types=tuple(row["service_types"]),
        ports=ports,
        routes=routes,
        backend_id=row["backend_id"],
        management_address=row["management_address"],
        flavor=observed.get("flavor") or {},
    )
    laid = {"interfaces": [asdict(item) for item in interfaces], "routes": [asdict(item) for item in routes]}
    health = observed.get("health") or {}
    snapshot = DeviceSnapshot(
        id=device_id,
        revision=row["revision"],
        wanted_absent=row["wanted_absent"],
        held=row["held"],
        failure=row["failure"],
        attempts=row["attempts"],
        created=bool(observed.get("created")),
        backend=observed.get("backend"),
        backend_reason=observed.get("backend_reason") or "",
        inspected_at=observed.get("inspected_at") or 0.0,
        wanted_ports=tuple(port.id for port in ports),
        plugged=tuple(plugged),
        boot=boot,
        monitor=told_of(observed.get("monitor")),
        config_key=digest(laid),
        config=told_of(observed.get("config")),
        answering=bool(observed.get("answering")),
        health=health.get("status"),
        health_reason=health.get("reason") or "",
        bindings=tuple(_bound(instance, laid) for instance in instances),
        uncertain_below=row["uncertain_below"],
        attempted=bool(observed.get("attempted")),
        outdated=tuple(
            port.id for port in ports if port.id in plugged and port_from(plugged[port.id]["port"]) != port
        ),
        clearing=told_of(observed["clearing"]) if observed.get("clearing") else None,
    )
    handed = {instance["id"]: instance["wanted"] for instance in instances}
    return DeviceView(snapshot, row, nsd, specs, handed, interfaces, agent)


def _bound(instance: Mapping[str, Any], laid: Mapping[str, Any]) -> Bound:
    observed = instance["observed"]
    removing = observed.get("removing")
    return Bound(
        instance_id=instance["id"],
        service_id=instance["network_service_id"],
        unbinding=instance["unbinding"],
        key=digest({"spec": instance["wanted"].get("spec_digest"), **laid}),
        told=told_of(observed.get("told")),
        removing=told_of(removing) if removing else None,
        removed=bool(observed.get("removed")),
    )


def _ports_of(connection: sa.Connection, instance_ids: list[str]) -> tuple[Port, ...]:
    ports = {}
    for row in rows.every(connection, _PORTS_OF, {"instances": instance_ids}):
        ports[row["id"]] = Port(
            id=row["id"],
            backend_id=row["backend_id"],
            network_id=row["network_id"] or "",
            classification=row["port_classification"],
            mac_address=row["mac_address"],
            addresses=tuple(row["addresses"]),
            given=row["owner"] == "given",
        )
    return tuple(ports.values())


def _agent(connection: sa.Connection, configurator: str) -> tuple[str | None, str | None]:
    """The live agent that reported last among those that reach *configurator*, and its boot id."""
    for row in rows.every(connection, _LIVE_AGENTS):
        for known in row["configurators"]:
            if known.get("name") == configurator and known.get("reachable") and known.get("boot_id"):
                return row["host"], known["boot_id"]
    return None, None


def spec_from(value: Mapping[str, Any]) -> NetworkServiceSpec:
    """Rebuild a spec that was handed over."""
    lists = ("provider_cidrs", "consumer_cidrs")
    return NetworkServiceSpec(
        **{
            **value,
            **{name: tuple(value[name]) for name in lists},
            "ports": tuple(port_from(port) for port in value["ports"]),
            "routes": tuple(Route(**route) for route in value["routes"]),
        }
    )


def port_from(value: Mapping[str, Any]) -> Port:
    """Rebuild a port from the store's JSON."""
    return Port(**{**value, "addresses": tuple(value["addresses"])})


def interface_from(value: Mapping[str, Any]) -> PluggedInterface:
    """Rebuild an interface from the store's JSON."""
    return PluggedInterface(**{**value, "addresses": tuple(value["addresses"])})
