"""Settings of the proxy: section ``[proxy]``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from nfp.daemon.settings import SettingsError, load

OPTS: Mapping[str, Sequence[cfg.Opt]] = {
    "proxy": [
        cfg.StrOpt("socket", required=True, help="Path of the UNIX socket that the agent connects to."),
        cfg.StrOpt(
            "target",
            required=True,
            help="The configurator: address:port, [IPv6 address]:port or name:port.",
        ),
        cfg.StrOpt("mode", default="660", help="Permissions of the socket, octal."),
        cfg.FloatOpt(
            "connect_timeout", default=5.0, min=0.01, help="Seconds until the target must have answered."
        ),
        cfg.FloatOpt(
            "idle_timeout",
            default=120.0,
            min=0.01,
            help="Seconds without a byte until a connection is closed; longer than any long poll.",
        ),
        cfg.IntOpt("max_connections", default=512, min=1, help="Connections at once; more are refused."),
    ]
}
"""Options by section."""

_TARGET = re.compile(r"(?:\[(?P<literal>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[^\[\]:\s]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class ProxySettings:
    """What the proxy goes by; times in seconds."""

    socket: str
    target_host: str
    target_port: int
    mode: int = 0o660
    connect_timeout: float = 5.0
    idle_timeout: float = 120.0
    max_connections: int = 512

    @property
    def target(self) -> str:
        """The target as an operator writes it."""
        host = f"[{self.target_host}]" if ":" in self.target_host else self.target_host
        return f"{host}:{self.target_port}"


def read(files: Sequence[str]) -> ProxySettings:
    """Read and check the proxy's settings.

    :raises SettingsError: all that is wrong with them.
    """
    section = load(files, OPTS)["proxy"]
    problems = []
    target = _TARGET.fullmatch(section.target)
    if target is None or not 0 < int(target["port"]) < 65536:
        problems.append(f"[proxy] target: expected address:port, got {section.target!r}")
    if not re.fullmatch(r"0?o?[0-7]{3}", section.mode):
        problems.append(f"[proxy] mode: expected three octal digits, got {section.mode!r}")
    if not Path(section.socket).is_absolute():
        problems.append(f"[proxy] socket: expected an absolute path, got {section.socket!r}")
    elif len(section.socket.encode()) > 107:
        problems.append("[proxy] socket: the kernel takes at most 107 bytes of path")
    if problems or target is None:
        raise SettingsError(problems)
    return ProxySettings(
        socket=section.socket,
        target_host=target["literal"] or target["name"],
        target_port=int(target["port"]),
        mode=int(section.mode[-3:], 8),
        connect_timeout=section.connect_timeout,
        idle_timeout=section.idle_timeout,
        max_connections=section.max_connections,
    )
