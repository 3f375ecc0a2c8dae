"""Configuration of nfp-configurator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from oslo_config import cfg

from nfp.daemon.settings import SettingsError, load

DEFAULT_PORT = 9443

OPTS: Mapping[str, list[cfg.Opt]] = {
    "DEFAULT": [
        cfg.FloatOpt(
            "graceful_shutdown_timeout",
            default=30,
            min=0,
            help="Seconds that work under way is given when the process is told to stop.",
        ),
    ],
    "configurator": [
        cfg.StrOpt("tenant", default="service", help="Name of the service tenant: the configurator's name."),
        cfg.StrOpt(
            "listen",
            default=f"[::]:{DEFAULT_PORT}",
            help="Address and port to serve REST on, 192.0.2.1:9443 or [2001:db8::1]:9443.",
        ),
        cfg.IntOpt("workers", default=2, min=1, max=64, help="Number of worker processes."),
        cfg.StrOpt("certificate", required=True, help="PEM file with our certificate and its key."),
        cfg.StrOpt("ca", required=True, help="PEM file with the certificates of the CA."),
        cfg.ListOpt(
            "clients",
            default=["agent.*"],
            help="Patterns of the names, in client certificates, that may call.",
        ),
        cfg.ListOpt("modules", help="Modules to load; all that are installed when left out."),
        cfg.IntOpt(
            "outbox_limit",
            default=10000,
            min=1,
            help="Results that may wait to be fetched before new requests are refused, and health"
            " reports that may wait before the oldest are dropped.",
        ),
        cfg.IntOpt("max_body", default=1048576, min=1024, help="Bytes that a request's body may have."),
        cfg.FloatOpt("device_timeout", default=30, min=0.1, help="Seconds that a device may take to answer."),
    ],
}


@dataclass(frozen=True)
class ConfiguratorSettings:
    """What the configurator, its modules and its drivers are told.

    :ivar host: address to listen on.
    :ivar clients: patterns of names that may call.
    :ivar modules: modules to load; ``None``: all.
    :ivar device_timeout: seconds that a device may take to answer.
    """

    tenant: str
    host: str
    port: int
    workers: int
    certificate: str
    ca: str
    clients: tuple[str, ...]
    modules: tuple[str, ...] | None
    outbox_limit: int
    max_body: int
    device_timeout: float
    graceful_shutdown_timeout: float


def read(files: Sequence[str]) -> ConfiguratorSettings:
    """Read and check the configuration.

    :raises SettingsError: listing everything that is wrong with it.
    """
    config = load(files, OPTS)
    group = config.configurator
    problems = [
        f"[configurator] {name}: cannot read {path}"
        for name, path in (("certificate", group.certificate), ("ca", group.ca))
        if not _readable(path)
    ]
    listen = split_address(group.listen)
    if listen is None:
        problems.append(
            f"[configurator] listen: expected ADDRESS:PORT or [ADDRESS]:PORT, got {group.listen!r}"
        )
    if not group.clients:
        problems.append("[configurator] clients: expected at least one pattern")
    if problems or listen is None:
        raise SettingsError(problems)
    return ConfiguratorSettings(
        tenant=group.tenant,
        host=listen[0],
        port=listen[1],
        workers=group.workers,
        certificate=group.certificate,
        ca=group.ca,
        clients=tuple(group.clients),
        modules=None if group.modules is None else tuple(group.modules),
        outbox_limit=group.outbox_limit,
        max_body=group.max_body,
        device_timeout=group.device_timeout,
        graceful_shutdown_timeout=config.graceful_shutdown_timeout,
    )


def split_address(text: str) -> tuple[str, int] | None:
    """Read ``192.0.2.1:9443`` or ``[2001:db8::1]:9443``; ``None`` when it is neither."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    valid = colon and port.isascii() and port.isdigit() and int(port) <= 65535
    return (str(address), int(port)) if valid and bracketed == (address.version == 6) else None


def _readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False
