"""Section ``[namespace]`` of the configuration: what the ``namespace`` driver must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from oslo_config import cfg

from nfp.daemon.settings import SettingsError, load

GROUP = "namespace"

OPTS: Mapping[str, Sequence[cfg.Opt]] = {
    GROUP: [
        cfg.StrOpt("fabric", required=True, help="Namespace that holds the bridges."),
        cfg.StrOpt("device_names", help="What the names of device namespaces begin with."),
        cfg.StrOpt("prefix", required=True, help="IPv6 prefix of the management network, without /64."),
        cfg.StrOpt("run_dir", required=True, help="Directory of locks and records of this deployment."),
        cfg.StrOpt("device_socket", required=True, help="Control socket of the device runtime."),
        cfg.PortOpt("device_port", default=9444, help="Port that the device runtime serves in each device."),
        cfg.StrOpt("device_server_name", required=True, help="Name in the device runtime's certificate."),
        cfg.FloatOpt("device_timeout", default=10.0, min=0.1, help="Seconds the device runtime may take."),
    ]
}


@dataclass(frozen=True)
class NamespaceSettings:
    """The section, checked.

    :ivar fabric: namespace that holds the bridges.
    :ivar device_names: what the names of device namespaces begin with.
    :ivar prefix: of the management network, a /64.
    :ivar run_dir: locks and records.
    :ivar device_socket: the device runtime's control socket.
    :ivar device_port: where the device runtime serves inside each device.
    :ivar device_server_name: the name that its certificate carries.
    :ivar device_timeout: seconds that the device runtime may take to answer.
    """

    fabric: str
    device_names: str
    prefix: IPv6Address
    run_dir: Path
    device_socket: str
    device_port: int
    device_server_name: str
    device_timeout: float


def read(files: Sequence[str]) -> NamespaceSettings:
    """Read the section.

    :raises SettingsError: naming everything that is wrong with it.
    """
    section = load(files, OPTS)[GROUP]
    try:
        prefix = IPv6Address(section.prefix.removesuffix("/64"))
    except ValueError as error:
        raise SettingsError([f"[{GROUP}] prefix: {error}"]) from None
    return NamespaceSettings(
        fabric=section.fabric,
        device_names=section.device_names or f"{section.fabric.removesuffix('fab')}d-",
        prefix=prefix,
        run_dir=Path(section.run_dir),
        device_socket=section.device_socket,
        device_port=section.device_port,
        device_server_name=section.device_server_name,
        device_timeout=section.device_timeout,
    )
