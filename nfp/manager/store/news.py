"""What arrives by the notification poll, and from agents, stored (invariants I3, I6, I8).

Each gives the keys to be run because of it.  News of a device that is not known counts as stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from nfp.manager.plan.decisions import backoff, cleared
from nfp.manager.plan.results import weigh
from nfp.manager.plan.told import told_of
from nfp.manager.store import bindings, history, rows
from nfp.manager.store.base import clock
from nfp.manager.store.tables import AgentRecord, NetworkServiceDevice, NetworkServiceInstance
from nfp.model.requests import DELETE_NSD_CONFIG, DELETE_SERVICE_CONFIG
from nfp.model.states import Health, Outcome

_INSTANCES: Any = NetworkServiceInstance.__table__
_DEVICES: Any = NetworkServiceDevice.__table__
_AGENTS: Any = AgentRecord.__table__


def config_result(
    connection: sa.Connection, info: Mapping[str, Any], data: Mapping[str, Any], now: float, rng: Any
) -> list[str]:
    """Store the result of a configuration request, of the device itself or of a service on it."""
    context = info["context"]
    device = _lock(connection, context["nsd_id"])
    if device is None:
        return []
    service_id = context.get("network_service_id")
    if service_id is None:
        return _device_result(connection, device, info, data, now, rng)
    query = sa.select(_INSTANCES).where(
        _INSTANCES.c.nsd_id == device["id"], _INSTANCES.c.network_service_id == service_id
    )
    instance = rows.first(connection, query)
    if instance is None:
        return []
    if context.get("operation") == DELETE_SERVICE_CONFIG:
        return _removal_result(connection, device, instance, data, now, rng)
    verdict = weigh(told_of(instance["observed"].get("told")), data)
    step = f"TellService:{instance['id']}"
    _retry(connection, device, step, verdict.retry, now, rng)
    observed = {**instance["observed"], "told": asdict(verdict.told)}
    if not verdict.history:
        rows.put(connection, _INSTANCES, instance["id"], {"observed": observed})
    history.add(connection, service_id, "result", _words(data))
    bindings.bump_device(connection, device["id"])
    bindings.bump_services(connection, [service_id])
    return [f"device:{device['id']}", f"service:{service_id}"]


def _device_result(
    connection: sa.Connection,
    device: dict[str, Any],
    info: Mapping[str, Any],
    data: Mapping[str, Any],
    now: float,
    rng: Any,
) -> list[str]:
    observed = device["observed"]
    if info["context"].get("operation") == DELETE_NSD_CONFIG:
        return _clearing_result(connection, device, data, now, rng)
    verdict = weigh(told_of(observed.get("config")), data)
    if not verdict.history:
        _set(connection, device["id"], {"observed": {**observed, "config": asdict(verdict.told)}})
    _retry(connection, device, "TellConfig", verdict.retry, now, rng)
    history.add(connection, device["id"], "result", _words(data))
    bindings.bump_device(connection, device["id"])
    if verdict.told.refused is None:
        return [f"device:{device['id']}"]
    return [f"device:{device['id']}", *_tell_services(connection, device["id"])]


def _clearing_result(
    connection: sa.Connection, device: dict[str, Any], data: Mapping[str, Any], now: float, rng: Any
) -> list[str]:
    """A device that will not be cleared goes all the same: its clearing is a courtesy."""
    observed = device["observed"]
    if tuple(data.get("order") or ()) != told_of(observed.get("clearing")).order:
        return []
    again = data.get("outcome") != Outcome.APPLIED and data.get("transient")
    facts: dict[str, Any] = {"clearing": None} if again else {"clearing": None, "config": None}
    _set(connection, device["id"], {"observed": {**observed, **facts}})
    _retry(
        connection, device, "TellClear", str(data.get("reason") or "not cleared") if again else None, now, rng
    )
    history.add(connection, device["id"], "clearing", _words(data))
    bindings.bump_device(connection, device["id"])
    return [f"device:{device['id']}"]


def _removal_result(
    connection: sa.Connection,
    device: dict[str, Any],
    instance: dict[str, Any],
    data: Mapping[str, Any],
    now: float,
    rng: Any,
) -> list[str]:
    observed = instance["observed"]
    removing = told_of(observed.get("removing"))
    if removing.key is None or tuple(data.get("order") or ()) != removing.order:
        return []
    done = data.get("outcome") == Outcome.APPLIED
    if done:
        observed = {**observed, "removed": True}
    else:
        reason = str(data.get("reason") or "the device did not remove it")
        _retry(connection, device, f"TellRemoval:{instance['id']}", reason, now, rng)
        observed = {**observed, "removing": None}
    rows.put(connection, _INSTANCES, instance["id"], {"observed": observed})
    history.add(connection, instance["network_service_id"], "removal", _words(data))
    bindings.bump_device(connection, device["id"])
    return [f"device:{device['id']}"]


def monitor_result(
    connection: sa.Connection, info: Mapping[str, Any], data: Mapping[str, Any], now: float, rng: Any
) -> list[str]:
    """Store that a monitor was set up, or why not."""
    device = _lock(connection, info["context"]["nsd_id"])
    if device is None:
        return []
    observed = device["observed"]
    told = told_of(observed.get("monitor"))
    if told.key is None:
        return []
    verdict = weigh(told, data)
    if verdict.history:
        return []
    again = verdict.retry or (verdict.told.refusal if verdict.told.refused else None)
    monitor = replace(told, boot=None) if again else verdict.told
    _set(connection, device["id"], {"observed": {**observed, "monitor": asdict(monitor)}})
    _retry(connection, device, "TellMonitor", again, now, rng)
    history.add(connection, device["id"], "monitor", _words(data))
    bindings.bump_device(connection, device["id"])
    return [f"device:{device['id']}"]


def health_status(
    connection: sa.Connection, data: Mapping[str, Any], boot_id: str, sequence: int
) -> list[str]:
    """Store a monitor's verdict, unless a later one of the same configurator's life is stored."""
    device = _lock(connection, data["nsd_id"])
    if device is None:
        return []
    if device["observed_boot"] == boot_id and sequence <= device["observed_sequence"]:
        return []
    health = {name: data.get(name) for name in ("status", "since", "level", "reason")}
    known = (device["observed"].get("health") or {}).get("status")
    observed = {**device["observed"], "health": health}
    changed = known != health["status"]
    if changed and health["status"] == Health.DOWN:
        observed["inspected_at"] = 0.0  # look from outside whether it is there at all
    values = {"observed": observed, "observed_boot": boot_id, "observed_sequence": sequence}
    _set(connection, device["id"], values)
    if not changed:
        return []
    history.add(connection, device["id"], f"health {health['status']}"[:64], str(health["reason"] or ""))
    bindings.bump_device(connection, device["id"])
    keys = [f"device:{device['id']}"]
    if Health.DOWN in (known, health["status"]):
        keys += _tell_services(connection, device["id"])
    return keys


def agent_report(
    connection: sa.Connection, host: str, boot_id: str, configurators: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Store that an agent lives, and what it reaches.

    :return: the devices of every configurator that has become reachable, or was born again.
    """
    row = rows.first(connection, sa.select(_AGENTS).where(_AGENTS.c.host == host).with_for_update())
    values = {"boot_id": boot_id, "reported_at": clock(), "configurators": list(configurators)}
    before: dict[str, Any] = {}
    if row is None:
        connection.execute(sa.insert(_AGENTS).values(host=host, **values))
    else:
        connection.execute(sa.update(_AGENTS).where(_AGENTS.c.host == host).values(**values))
        before = {item["name"]: _face(item) for item in row["configurators"]}
    changed = [item["name"] for item in configurators if before.get(item["name"]) != _face(item)]
    return _bump_devices_of(connection, changed)


def boot_seen(connection: sa.Connection, configurator: str, boot_id: str) -> list[str]:
    """Store a configurator's new boot id that an answer brought before its agent's next report does.

    :return: its devices: all of them have to be told again.
    """
    changed = False
    for agent in rows.every(connection, sa.select(_AGENTS).order_by(_AGENTS.c.host).with_for_update()):
        known = agent["configurators"]
        if any(item["name"] == configurator and item.get("boot_id") != boot_id for item in known):
            new = [{**item, "boot_id": boot_id} if item["name"] == configurator else item for item in known]
            connection.execute(
                sa.update(_AGENTS).where(_AGENTS.c.host == agent["host"]).values(configurators=new)
            )
            changed = True
    return _bump_devices_of(connection, [configurator]) if changed else []


def _bump_devices_of(connection: sa.Connection, configurators: Sequence[str]) -> list[str]:
    """A new fact about every device of these configurators; locked in one order, whoever brings it."""
    if not configurators:
        return []
    query = sa.select(_DEVICES.c.id).where(_DEVICES.c.configurator.in_(configurators))
    found = connection.execute(query.order_by(_DEVICES.c.id).with_for_update()).scalars()
    device_ids = list(found)
    connection.execute(
        sa.update(_DEVICES).where(_DEVICES.c.id.in_(device_ids)).values(revision=_DEVICES.c.revision + 1)
    )
    return [f"device:{device_id}" for device_id in device_ids]


def _tell_services(connection: sa.Connection, device_id: str) -> list[str]:
    service_ids = bindings.services_of(connection, device_id)
    bindings.bump_services(connection, service_ids)
    return [f"service:{name}" for name in service_ids]


def _face(item: Mapping[str, Any]) -> tuple[Any, Any]:
    return item.get("boot_id"), item.get("reachable")


def _lock(connection: sa.Connection, device_id: str) -> dict[str, Any] | None:
    return rows.get(connection, _DEVICES, device_id, lock=True)


def _set(connection: sa.Connection, device_id: str, values: Mapping[str, Any]) -> None:
    rows.put(connection, _DEVICES, device_id, values)


def _retry(
    connection: sa.Connection, device: dict[str, Any], step: str, reason: str | None, now: float, rng: Any
) -> None:
    """Count a failure that came back as a result; a result that is none forgets those before."""
    attempts = device["attempts"]
    if reason is not None:
        _set(connection, device["id"], {"attempts": backoff(attempts, step, reason, now, rng)})
    elif step in attempts:
        _set(connection, device["id"], {"attempts": cleared(attempts, step)})


def _words(data: Mapping[str, Any]) -> str:
    return f"{data.get('outcome')} order {data.get('order')} {data.get('reason') or ''}".strip()
