"""The fabric: one namespace that holds a bridge for each network, shared by all who plug into it.

A bridge is made when its network is first named and removed when its last port has left.  Both
happen under one lock, a file, because several processes of a machine plug: manager workers, and
the operator's laboratory.  Blocking; call from a thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nfp.model.errors import Transient
from nfp.netns import links, namespaces
from nfp.netns.links import Nic, RouteSpec

MANAGEMENT_NETWORK = "management"
LOCK_SECONDS = 30.0
VANISH_SECONDS = 20.0
_LOCK_POLL_SECONDS = 0.005


def bridge_name(network_id: str) -> str:
    """Name of the bridge of a network."""
    return f"b{_short(network_id)}"


def port_name(owner: str, port: str) -> str:
    """Name of the near end that leads to *port* of *owner*."""
    return f"p{_short(f'{owner} {port}')}"


def derived_mac(owner: str, port: str) -> str:
    """A locally administered MAC address for a port that brings none."""
    digits = hashlib.sha256(f"{owner} {port}".encode()).hexdigest()
    return ":".join(["02", *(digits[at : at + 2] for at in range(0, 10, 2))])


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Fabric:
    """The bridges of one deployment.

    :ivar namespace: where they are.
    :ivar lock: the lock file.
    """

    namespace: str
    lock: Path

    def plug(
        self,
        namespace: str,
        nics: Sequence[Nic],
        routes: Sequence[RouteSpec] = (),
        sysctls: Mapping[str, str] | None = None,
    ) -> None:
        """Make *namespace* with these interfaces, or complete what is there of it.

        :raises Transient: the fabric is not there, or the lock was not to be had in time.
        """
        with self._locked():
            if not namespaces.exists(self.namespace):
                raise Transient(f"the fabric {self.namespace} is not there; is nfp up?")
            links.build(namespace, self.namespace, nics, routes, sysctls)

    def unplug(self, names: Sequence[str]) -> None:
        """Remove near ends, and with them their far ends; then bridges without ports."""
        with self._locked():
            if not namespaces.exists(self.namespace):
                return
            for name in names:
                links.remove_link(self.namespace, name)
            self._sweep()

    def dissolve(self, namespace: str, names: Sequence[str]) -> None:
        """Remove a namespace; return when its near ends *names* have vanished; then sweep bridges.

        :raises Transient: a process is inside, or an end did not vanish in time.
        """
        try:
            namespaces.delete(namespace)
        except OSError as error:
            raise Transient(str(error)) from error
        if not namespaces.exists(self.namespace):
            return
        try:
            links.wait_gone(self.namespace, names, VANISH_SECONDS)
        except TimeoutError as error:
            raise Transient(f"{namespace} is removed, but something keeps its links: {error}") from error
        with self._locked():
            self._sweep()

    def _sweep(self) -> None:
        """Remove the bridges that have no port.  The management network's stays: it is the fabric's own."""
        there = links.list_links(self.namespace)
        used = {link.master for link in there}
        for link in there:
            if (
                link.name.startswith("b")
                and link.index not in used
                and link.name != bridge_name(MANAGEMENT_NETWORK)
            ):
                links.remove_link(self.namespace, link.name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _acquire(file, self.lock)
            yield
        finally:
            os.close(file)


def _acquire(file: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    pause = threading.Event()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Transient(f"{path} was held for {LOCK_SECONDS:g} s by somebody else") from None
            pause.wait(_LOCK_POLL_SECONDS)
        else:
            return
