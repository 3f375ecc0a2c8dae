"""The files that ``nfp up`` writes: one INI for all processes, the broker's URL, certificates.

What the operator's own file says comes after ours wherever processes read both, so it wins.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from nfp.agent.config import OPTS as AGENT
from nfp.configurator.config import OPTS as CONFIGURATOR_OPTS
from nfp.daemon.settings import DEFAULT, SettingsError, load
from nfp.device.config import OPTS as DEVICE
from nfp.embedded.state_dir import StateDir
from nfp.manager.config import OPTS as MANAGER
from nfp.manager.lifecycle.config import OPTS as NAMESPACE
from nfp.model.secret import Secret
from nfp.pki.authority import CA_CERTIFICATE, Authority
from nfp.proxy.config import OPTS as PROXY

CONFIGURATOR_PORT = 9443
DEVICE_PORT = 9444
GRACE_SECONDS = 10
ROUTER, CONFIGURATOR = 1, 2
"""Last digits of their addresses on the management network."""

_OPTS: Mapping[str, Sequence[cfg.Opt]] = {
    DEFAULT: [
        cfg.StrOpt("transport_url", secret=True, help="Broker; empty: a private one is started."),
        cfg.StrOpt("host", help="Name of this host; default: the system's."),
        cfg.StrOpt("deployment", help="Marks what is made outside; default: computed from the directory."),
    ],
    "database": [cfg.StrOpt("connection", secret=True, help="Database; default: SQLite in the directory.")],
    "manager": [cfg.StrOpt("configurator", default="service", help="Name of the service tenant.")],
}

_OF_COMPONENTS: Sequence[Mapping[str, Sequence[cfg.Opt]]] = (
    DEVICE,
    PROXY,
    CONFIGURATOR_OPTS,
    AGENT,
    MANAGER,
    NAMESPACE,
)


@dataclass(frozen=True)
class EmbeddedSettings:
    """What ``nfp up`` itself must know of the operator's file.

    :ivar files: the operator's files, handed on to every process.
    :ivar transport_url: ``None``: start a private broker.
    :ivar host: name of this host.
    :ivar deployment: marker of everything made outside.
    :ivar connection: URL of the database.
    :ivar configurator: name of the service tenant and of its configurator.
    """

    files: tuple[str, ...]
    transport_url: Secret | None
    host: str
    deployment: str
    connection: Secret
    configurator: str


def read(state: StateDir, files: Sequence[str]) -> EmbeddedSettings:
    """Read the operator's file, if there is one.

    :raises SettingsError: naming everything that is wrong.
    """
    config = load([str(Path(file).resolve()) for file in files], _OPTS)
    url = config.transport_url
    return EmbeddedSettings(
        files=tuple(str(Path(file).resolve()) for file in files),
        transport_url=Secret(url) if url else None,
        host=config.host or socket.gethostname(),
        deployment=config.deployment or state.tag,
        connection=Secret(config.database.connection or f"sqlite:///{state.database}"),
        configurator=config.manager.configurator,
    )


def read_connection(state: StateDir) -> str:
    """The database of the instance in *state*, as it was written at its start.

    :raises SettingsError: there is no such file, or it says nothing of a database.
    """
    option = cfg.StrOpt("connection", secret=True, required=True)
    connection: str = load([str(state.configuration)], {"database": [option]}).database.connection
    return connection


def certificate_name(role: str, who: str) -> str:
    """The DNS name of a part: ``agent.<host>``, in the letters that a certificate's name may have."""
    labels = [re.sub(r"[^a-z0-9-]+", "-", label).strip("-") for label in who.lower().split(".")]
    return ".".join([role, *(label for label in labels if label)])


@dataclass(frozen=True)
class Certificates:
    """Paths of the certificates, and the names in them."""

    ca: Path
    agent: Path
    configurator: Path
    device: Path
    device_name: str


def certificates_of(state: StateDir, settings: EmbeddedSettings) -> Certificates:
    """Where the certificates are, or will be."""
    device_name = certificate_name("device", settings.host)
    return Certificates(
        ca=state.pki / CA_CERTIFICATE,
        agent=state.pki / f"{certificate_name('agent', settings.host)}.pem",
        configurator=state.pki / f"{certificate_name('configurator', settings.configurator)}.pem",
        device=state.pki / f"{device_name}.pem",
        device_name=device_name,
    )


def issue(state: StateDir, certificates: Certificates) -> None:
    """Make the authority and what it must sign; what is there and good stays."""
    authority = Authority.create(state.pki)
    authority.issue(certificates.agent.stem, server=False)
    authority.issue(certificates.configurator.stem)
    authority.issue(certificates.device.stem, client=False)


def sections(
    state: StateDir, settings: EmbeddedSettings, url: Secret, certificates: Certificates
) -> Mapping[str, Mapping[str, str]]:
    """Everything that ``nfp.conf`` says, by section and option."""
    name = settings.configurator
    listen = f"[{state.management_address(CONFIGURATOR)}]:{CONFIGURATOR_PORT}"
    return {
        DEFAULT: {
            "transport_url": url.reveal(),
            "deployment": settings.deployment,
            "host": settings.host,
            "graceful_shutdown_timeout": str(GRACE_SECONDS),
        },
        "database": {"connection": settings.connection.reveal()},
        "manager": {
            "lifecycle_driver": "namespace",
            "configurator": name,
            "vendor_map": "*:nftables",
        },
        "namespace": {
            "fabric": state.fabric,
            "device_names": f"{state.namespace_prefix}d-",
            "prefix": state.management_prefix,
            "run_dir": str(state.run),
            "device_socket": str(state.device_socket),
            "device_port": str(DEVICE_PORT),
            "device_server_name": certificates.device_name,
        },
        "configurator": {
            "tenant": name,
            "listen": listen,
            "certificate": str(certificates.configurator),
            "ca": str(certificates.ca),
            "clients": "agent.*",
        },
        "device": {
            "socket": str(state.device_socket),
            "state_dir": str(state.device),
            "certificate": str(certificates.device),
            "ca": str(certificates.ca),
            "clients": "configurator.*",
        },
        "agent": {
            "configurators": f"{name}:{state.proxy_socket(name)}",
            "certificate": str(certificates.agent),
            "ca": str(certificates.ca),
            "report_interval": "1",  # on one machine it costs nothing, and a start waits for the first one
        },
        "proxy": {"socket": str(state.proxy_socket(name)), "target": listen, "mode": "660"},
    }


def text_of(said: Mapping[str, Mapping[str, str]]) -> str:
    """Write sections as an INI file; a ``$`` in a value is doubled, or it would name another option."""
    lines = ["# Written by nfp up at each start; say otherwise in the file given by --config."]
    for section, options in said.items():
        lines += ["", f"[{section}]"]
        lines += [f"{option} = {value.replace('$', '$$')}" for option, value in options.items()]
    return "\n".join(lines) + "\n"


def check(state: StateDir, settings: EmbeddedSettings) -> list[str]:
    """What every component would find wrong with the operator's files beside ours, all at once.

    Writes nothing but a temporary file.
    """
    url = settings.transport_url or Secret("rabbit://localhost/")
    told = sections(state, settings, url, certificates_of(state, settings))
    problems: list[str] = []
    with tempfile.NamedTemporaryFile("w", prefix="nfp-", suffix=".conf") as file:
        file.write(text_of(told))
        file.flush()
        for options in _OF_COMPONENTS:
            try:
                load([file.name, *settings.files], options)
            except SettingsError as error:
                problems += [problem for problem in error.problems if problem not in problems]
    return problems


def write(state: StateDir, settings: EmbeddedSettings, url: Secret) -> None:
    """Write ``nfp.conf``, ``transport_url`` and the certificates, each whole or not at all."""
    certificates = certificates_of(state, settings)
    issue(state, certificates)
    write_private(state.configuration, text_of(sections(state, settings, url, certificates)))
    write_private(state.transport_url, url.reveal() + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; nobody ever sees half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)
