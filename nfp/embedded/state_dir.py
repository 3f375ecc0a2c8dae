"""Where one embedded deployment keeps its files, and what its namespaces are called."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from nfp.model.errors import Invalid

LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SOCKET_PATH_LIMIT = 100
"""Bytes that a UNIX socket's path may have, with room to spare (the kernel takes 107)."""


@dataclass(frozen=True)
class StateDir:
    """The directory of one deployment; everything that it makes is named after it.

    :ivar root: absolute path.
    """

    root: Path

    @classmethod
    def at(cls, path: str) -> StateDir:
        """The deployment at *path*, which need not exist yet."""
        return cls(Path(path).expanduser().resolve())

    @property
    def tag(self) -> str:
        """Six hex digits that tell this deployment's namespaces from another's."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:6]

    @property
    def management_prefix(self) -> str:
        """The unique local IPv6 prefix of the service management network, without ``/64``."""
        digits = hashlib.sha256(f"management {self.root}".encode()).hexdigest()
        return str(IPv6Address(f"fd{digits[:2]}:{digits[2:6]}:{digits[6:10]}::"))

    def management_address(self, last: int) -> str:
        """An address on the service management network: 1 is the router, 2 the configurator."""
        return str(IPv6Address(self.management_prefix) + last)

    # Namespaces

    @property
    def namespace_prefix(self) -> str:
        """What the name of every namespace of this deployment begins with."""
        return f"nfp-{self.tag}-"

    @property
    def fabric(self) -> str:
        """The namespace that holds the bridges."""
        return f"{self.namespace_prefix}fab"

    @property
    def router(self) -> str:
        """The namespace of the service tenant's router; the proxy runs in it."""
        return f"{self.namespace_prefix}rtr"

    @property
    def configurator(self) -> str:
        """The namespace of the service tenant; the configurator runs in it."""
        return f"{self.namespace_prefix}cfg"

    def lab(self, name: str) -> str:
        """The namespace of a lab host.

        :raises Invalid: *name* is not fit for a namespace's name.
        """
        if not LAB_NAME.fullmatch(name):
            raise Invalid("expected small letters, digits and dashes, at most 32", field="NAME")
        return f"{self.namespace_prefix}l-{name}"

    # Files

    @property
    def configuration(self) -> Path:
        """The one INI file of all processes."""
        return self.root / "nfp.conf"

    @property
    def transport_url(self) -> Path:
        """Holds the broker's URL, as oslo.messaging writes it."""
        return self.root / "transport_url"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "nfp.db"

    @property
    def pki(self) -> Path:
        """Authority and certificates."""
        return self.root / "pki"

    @property
    def log(self) -> Path:
        """One file for each process."""
        return self.root / "log"

    @property
    def rabbitmq(self) -> Path:
        """Home of the private broker."""
        return self.root / "rabbitmq"

    @property
    def device(self) -> Path:
        """What the device runtime remembers."""
        return self.root / "device"

    @property
    def run(self) -> Path:
        """Sockets, locks, and what lives as long as the processes."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        """Held by the live instance."""
        return self.run / "lock"

    @property
    def device_socket(self) -> Path:
        """Control socket of the device runtime."""
        return self.run / "device.sock"

    def proxy_socket(self, configurator: str) -> Path:
        """Socket of the proxy that leads to *configurator*."""
        return self.run / f"proxy-{configurator}.sock"

    def lab_record(self, name: str) -> Path:
        """What ``nfp lab attach`` must know again at ``detach``."""
        return self.run / "lab" / f"{name}.json"
