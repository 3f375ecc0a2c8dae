"""What the operator's tools must know: where the broker is and how RPC is spoken there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfp.daemon.settings import SettingsError, load
from nfp.model.errors import Invalid
from nfp.rpc.options import OPTS, RpcOptions
from nfp.rpc.url import BrokerURL

DEFAULT_FILE = "/etc/nfp/nfp.conf"
FILES_VARIABLE = "NFP_CONFIG"
"""Names configuration files, separated by colons, in place of the default one."""


@dataclass(frozen=True)
class OperatorSettings:
    """How the manager is reached."""

    url: BrokerURL
    rpc: RpcOptions


def files(state_dir: str | None, named: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The configuration files to read, later ones over earlier ones.

    :param state_dir: directory of an ``nfp up``; its ``nfp.conf`` comes first.
    :param named: files named by the operator.
    :return: none if nothing is named and there is no default file.
    """
    found = [str(Path(state_dir).expanduser() / "nfp.conf")] if state_dir else []
    found.extend(named)
    if not found:
        found = [name for name in environ.get(FILES_VARIABLE, "").split(":") if name]
    if not found and Path(DEFAULT_FILE).exists():
        found = [DEFAULT_FILE]
    return found


def read(named: Sequence[str], transport_url: str | None = None) -> OperatorSettings:
    """Read and check the configuration.

    :param named: from :func:`files`.
    :param transport_url: in place of the files' one.
    :raises SettingsError: naming everything that is wrong.
    """
    config = load(named, OPTS)
    url = transport_url or config.transport_url
    if not url and not named:
        raise SettingsError(
            [f"which manager? give --state-dir, --config or --transport-url (there is no {DEFAULT_FILE})"]
        )
    if not url:
        raise SettingsError(["[DEFAULT] transport_url: is required"])
    try:
        return OperatorSettings(url=BrokerURL.parse(url), rpc=RpcOptions.of(config))
    except Invalid as error:
        raise SettingsError([f"[DEFAULT] {error}"]) from None
