"""Settings of the agent: section ``[agent]``, and the broker's."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_config import cfg

from nfp.daemon import settings
from nfp.daemon.settings import SettingsError
from nfp.model.errors import Invalid
from nfp.rpc.options import OPTS as RPC_OPTS
from nfp.rpc.options import RpcOptions
from nfp.rpc.url import BrokerURL

OPTS: Mapping[str, Sequence[cfg.Opt]] = {
    **RPC_OPTS,
    "DEFAULT": [
        *RPC_OPTS["DEFAULT"],
        cfg.StrOpt("host", help="This host's name in topics; the machine's own by default."),
    ],
    "agent": [
        cfg.DictOpt(
            "configurators",
            required=True,
            help="The configurators and their proxies' UNIX sockets: name:path,name:path.",
        ),
        cfg.DictOpt("tenants", default={}, help="Service tenant of a configurator if not its name: name:id."),
        cfg.DictOpt("routers", default={}, help="Router that leads to a configurator: name:id."),
        cfg.StrOpt("certificate", required=True, help="PEM file with the agent's certificate and key."),
        cfg.StrOpt("ca", required=True, help="PEM file with the CA certificates that are trusted."),
        cfg.StrOpt(
            "server_name",
            default="configurator.{name}",
            help="The name that a configurator's certificate must bear.",
        ),
        cfg.FloatOpt("request_timeout", default=30.0, min=0.1, help="Seconds for one request."),
        cfg.FloatOpt("report_interval", default=5.0, min=0.1, help="Seconds between reports to managers."),
        cfg.IntOpt("poll_wait", default=20, min=1, max=60, help="Seconds that a configurator holds a poll."),
        cfg.FloatOpt(
            "longest_retry", default=2.0, min=0.1, help="Seconds between tries of what is not reached."
        ),
        cfg.IntOpt("pool_size", default=8, min=1, help="Connections kept to each configurator."),
        cfg.IntOpt("prefetch", default=100, min=1, help="RPCs in hand at once."),
    ],
}
"""Options by section."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class ConfiguratorSettings:
    """One configurator and the way to it."""

    name: str
    socket: str
    tenant_id: str
    router_id: str | None = None


@dataclass(frozen=True)
class AgentSettings:
    """What the agent goes by; times in seconds.

    :ivar look_interval: between looks at a configurator whose last word is not acknowledged yet.
    """

    host: str
    configurators: tuple[ConfiguratorSettings, ...]
    certificate: str
    ca: str
    server_name: str = "configurator.{name}"
    request_timeout: float = 30.0
    report_interval: float = 5.0
    poll_wait: int = 20
    longest_retry: float = 2.0
    look_interval: float = 5.0
    pool_size: int = 8
    prefetch: int = 100
    broker: BrokerURL | None = None
    rpc: RpcOptions = field(default_factory=RpcOptions)


def read(files: Sequence[str]) -> AgentSettings:
    """Read and check the agent's settings.

    :raises SettingsError: all that is wrong with them.
    """
    config = settings.load(files, OPTS)
    section = config.agent
    problems: list[str] = []
    configurators = _configurators(section, problems)
    for name in ("certificate", "ca"):
        if not Path(section[name]).is_file():
            problems.append(f"[agent] {name}: there is no file {section[name]!r}")
    if section.server_name.replace("{name}", "x").count("{"):
        problems.append("[agent] server_name: only {name} can be filled in")
    broker = _broker(config, problems)
    if problems:
        raise SettingsError(problems)
    return AgentSettings(
        host=config.host or socket.gethostname(),
        configurators=configurators,
        certificate=section.certificate,
        ca=section.ca,
        server_name=section.server_name,
        request_timeout=section.request_timeout,
        report_interval=section.report_interval,
        poll_wait=section.poll_wait,
        longest_retry=section.longest_retry,
        pool_size=section.pool_size,
        prefetch=section.prefetch,
        broker=broker,
        rpc=RpcOptions.of(config),
    )


def _broker(config: Any, problems: list[str]) -> BrokerURL | None:
    if not config.transport_url:
        problems.append("[DEFAULT] transport_url: is required")
        return None
    try:
        return BrokerURL.parse(config.transport_url)
    except Invalid as problem:
        problems.append(f"[DEFAULT] transport_url: {problem.reason}")
        return None


def _configurators(section: Any, problems: list[str]) -> tuple[ConfiguratorSettings, ...]:
    found = []
    for name, path in section.configurators.items():
        if not _NAME.fullmatch(name):
            problems.append(f"[agent] configurators: {name!r} cannot be part of a certificate's name")
        if not Path(path).is_absolute():
            problems.append(f"[agent] configurators: expected an absolute path for {name}, got {path!r}")
        found.append(
            ConfiguratorSettings(name, path, section.tenants.get(name, name), section.routers.get(name))
        )
    for option in ("tenants", "routers"):
        for name in section[option].keys() - section.configurators.keys():
            problems.append(f"[agent] {option}: there is no configurator {name!r}")
    return tuple(found)
