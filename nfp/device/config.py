"""Settings of the device runtime: section ``[device]``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oslo_config import cfg

from nfp.daemon.settings import SettingsError, load

OPTS: Mapping[str, Sequence[cfg.Opt]] = {
    "device": [
        cfg.StrOpt("socket", required=True, help="UNIX socket on which devices are announced."),
        cfg.StrOpt("state_dir", required=True, help="Directory that keeps what each device was told."),
        cfg.StrOpt("certificate", required=True, help="PEM file: certificate and key of this runtime."),
        cfg.StrOpt("ca", required=True, help="PEM file: the CA whose clients may connect."),
        cfg.ListOpt(
            "clients",
            default=["configurator.*"],
            help="Names, by certificate, that may ask a device; * and ? are wild.",
        ),
        cfg.IntOpt("threads", default=10, min=1, max=128, help="How many devices are worked on at once."),
        cfg.StrOpt("ready_file", help="A file that exists while the runtime is ready."),
    ]
}


@dataclass(frozen=True)
class DeviceSettings:
    """The settings, checked; one attribute per option."""

    socket: str
    state_dir: str
    certificate: str
    ca: str
    clients: tuple[str, ...]
    threads: int
    ready_file: str | None


def read(files: Sequence[str]) -> DeviceSettings:
    """Read and check the settings.

    :raises nfp.daemon.settings.SettingsError: naming everything that is wrong.
    """
    group = load(files, OPTS)["device"]
    problems = [
        f"[device] {name}: {path} cannot be read"
        for name, path in (("certificate", group.certificate), ("ca", group.ca))
        if not os.access(path, os.R_OK)
    ]
    if not group.clients:
        problems.append("[device] clients: nobody could ask; name at least one")
    if problems:
        raise SettingsError(problems)
    return DeviceSettings(
        socket=group.socket,
        state_dir=group.state_dir,
        certificate=group.certificate,
        ca=group.ca,
        clients=tuple(group.clients),
        threads=group.threads,
        ready_file=group.ready_file,
    )
