"""Configuration of nfp-manager."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from oslo_config import cfg

from nfp.daemon.settings import SettingsError, load
from nfp.model.errors import Invalid
from nfp.rpc import options as rpc
from nfp.rpc.options import RpcOptions
from nfp.rpc.url import BrokerURL

OPTS: Mapping[str, list[cfg.Opt]] = {
    "DEFAULT": [
        *rpc.OPTS["DEFAULT"],
        cfg.StrOpt("host", default=socket.gethostname(), help="Name of this host; unique among managers."),
        cfg.StrOpt("deployment", default="nfp", help="Marks what this deployment makes outside."),
        cfg.FloatOpt(
            "graceful_shutdown_timeout",
            default=30,
            min=0,
            help="Seconds that work under way is given when the process is told to stop.",
        ),
    ],
    "rabbit": [*rpc.OPTS["rabbit"]],
    "database": [
        cfg.StrOpt("connection", required=True, secret=True, help="SQLAlchemy URL of the database."),
    ],
    "manager": [
        cfg.IntOpt("workers", default=2, min=1, max=64, help="Number of worker processes."),
        cfg.ListOpt("modules", help="Modules to load; all that are installed when left out."),
        cfg.StrOpt("lifecycle_driver", default="namespace", help="What makes devices."),
        cfg.FloatOpt("driver_timeout", default=45, min=1, help="Seconds that a lifecycle driver may take."),
        cfg.IntOpt("driver_threads", default=16, min=1, help="Driver calls at once, in each worker."),
        cfg.StrOpt("configurator", default="service", help="Name of the service tenant's configurator."),
        cfg.DictOpt(
            "vendor_map",
            default={},
            help="Vendor in a service profile:vendor that serves it; * is all others.",
        ),
        cfg.FloatOpt(
            "resync_interval", default=300, min=1, help="Seconds between looks at a settled object."
        ),
        cfg.FloatOpt("lease_seconds", default=60, min=5, help="Seconds that a lease lasts unrenewed."),
        cfg.IntOpt("rpc_prefetch", default=500, min=1, help="Requests that may wait unacknowledged."),
        cfg.FloatOpt("rpc_timeout", default=15, min=0.1, help="Seconds that an agent may take to answer."),
        cfg.FloatOpt("poll_wait", default=20, min=0, help="Seconds that a poll for notifications waits."),
    ],
}


@dataclass(frozen=True)
class ManagerSettings:
    """What the manager and its modules are told; times in seconds.

    :ivar files: the configuration files, for drivers that have sections of their own.
    :ivar vendors: vendor in a service profile → vendor that serves it here.
    """

    files: tuple[str, ...]
    broker: BrokerURL
    rpc: RpcOptions
    host: str
    deployment: str
    graceful_shutdown_timeout: float
    database: str = field(repr=False)
    workers: int
    modules: tuple[str, ...] | None
    lifecycle_driver: str
    driver_timeout: float
    driver_threads: int
    configurator: str
    vendors: Mapping[str, str]
    resync_interval: float
    lease_seconds: float
    rpc_prefetch: int
    rpc_timeout: float
    poll_wait: float


def read(files: Sequence[str]) -> ManagerSettings:
    """Read and check the configuration.

    :raises SettingsError: listing everything that is wrong with it.
    """
    config = load(files, OPTS)
    group = config.manager
    problems = []
    broker = None
    try:
        broker = BrokerURL.parse(config.transport_url or "")
    except Invalid as error:
        problems.append(f"[DEFAULT] transport_url: {error.reason}")
    if group.driver_timeout >= group.lease_seconds:
        problems.append("[manager] driver_timeout: must be below lease_seconds: a step ends within its lease")
    if problems or broker is None:
        raise SettingsError(problems)
    return ManagerSettings(
        files=tuple(files),
        broker=broker,
        rpc=RpcOptions.of(config),
        host=config.host,
        deployment=config.deployment,
        graceful_shutdown_timeout=config.graceful_shutdown_timeout,
        database=config.database.connection,
        workers=group.workers,
        modules=None if group.modules is None else tuple(group.modules),
        lifecycle_driver=group.lifecycle_driver,
        driver_timeout=group.driver_timeout,
        driver_threads=group.driver_threads,
        configurator=group.configurator,
        vendors=dict(group.vendor_map),
        resync_interval=group.resync_interval,
        lease_seconds=group.lease_seconds,
        rpc_prefetch=group.rpc_prefetch,
        rpc_timeout=group.rpc_timeout,
        poll_wait=group.poll_wait,
    )
