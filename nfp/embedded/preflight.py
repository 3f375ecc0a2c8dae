"""What ``nfp up`` needs of the machine: looked at first, changed never.

:func:`gather` looks, :func:`problems` decides; each problem comes with the command that mends it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nfp.device.nft import Nft, NftError
from nfp.embedded.broker import EPMD, SERVER
from nfp.embedded.state_dir import SOCKET_PATH_LIMIT, StateDir
from nfp.netns.namespaces import CLONE_NEWNET
from nfp.netns.throwaway import in_thread

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21
DEBIAN_RELEASE = 12
DISK_MEGABYTES = 200
_DIAL_SECONDS = 1.0


@dataclass(frozen=True)
class Problem:
    """Something that is missing, and what mends it.

    :ivar remedy: a command to type, or what to do where there is none.
    """

    what: str
    remedy: str


@dataclass(frozen=True)
class Facts:
    """What :func:`gather` saw.

    :ivar capabilities: numbers of the effective capabilities.
    :ivar release: ``ID`` and ``VERSION_ID`` of ``/etc/os-release``.
    :ivar namespaces: why no network namespace can be made; ``None``: one was.
    :ivar nftables: why nftables cannot be used inside one; ``None``: it can.
    :ivar ipv6: why there is no IPv6, which the management network needs; ``None``: there is.
    :ivar broker_program: whether Debian's RabbitMQ is installed.
    :ivar broker: address of the broker that the configuration names; ``None``: a private one is wanted.
    :ivar broker_error: why it cannot be reached.
    :ivar loopback_error: why no port of 127.0.0.1 can be had.
    :ivar megabytes: room on the file system of the state directory.
    :ivar writable: whether the state directory can be made or written.
    :ivar holder: process id of the live instance that uses it.
    :ivar socket_path: the longest path of a socket in it, in bytes.
    """

    capabilities: frozenset[int]
    release: tuple[str, str]
    namespaces: str | None
    nftables: str | None
    ipv6: str | None
    broker_program: bool
    broker: str | None
    broker_error: str | None
    loopback_error: str | None
    megabytes: int
    writable: bool
    holder: int | None
    socket_path: int


def problems(facts: Facts, state: StateDir) -> list[Problem]:
    """Everything that keeps ``nfp up`` from working, in the order to mend it."""
    return [*_of_machine(facts), *_of_broker(facts), *_of_state_dir(facts, state)]


def _of_machine(facts: Facts) -> Iterator[Problem]:
    lacking = [
        name
        for name, number in (("CAP_NET_ADMIN", CAP_NET_ADMIN), ("CAP_SYS_ADMIN", CAP_SYS_ADMIN))
        if number not in facts.capabilities
    ]
    if lacking:
        yield Problem(
            f"no {' and no '.join(lacking)}: namespaces and links need root", "run it as root: sudo nfp up …"
        )
    name, version = facts.release
    if name != "debian" or not version.split(".")[0].isdigit() or int(version.split(".")[0]) < DEBIAN_RELEASE:
        yield Problem(
            f"this is {name or 'an unknown system'} {version}".rstrip()
            + f"; what was tested is Debian {DEBIAN_RELEASE} or later",
            f"use a machine or a privileged container with Debian {DEBIAN_RELEASE} or later",
        )
    if facts.namespaces is not None and not lacking:
        yield Problem(
            f"network namespaces cannot be made: {facts.namespaces}",
            "in a container: start it with --privileged; on a host: sysctl -w user.max_net_namespaces=10000",
        )
    if facts.nftables is not None and facts.namespaces is None and not lacking:
        yield Problem(
            f"nftables cannot be used: {facts.nftables}",
            "apt-get install nftables libnftables1 (and a kernel with nf_tables)",
        )
    if facts.ipv6 is not None:
        yield Problem(
            f"the kernel has no IPv6, which the management network is made of: {facts.ipv6}",
            "take ipv6.disable=1 off the kernel's command line, and restart",
        )


def _of_broker(facts: Facts) -> Iterator[Problem]:
    if facts.broker is None:
        if not facts.broker_program:
            yield Problem(
                "RabbitMQ is not installed, and the configuration names no other broker",
                "systemctl mask rabbitmq-server epmd.service epmd.socket; "
                "apt-get install --no-install-recommends rabbitmq-server "
                "(or set transport_url in the file given by --config)",
            )
        if facts.loopback_error is not None:
            yield Problem(f"no port of 127.0.0.1 can be had: {facts.loopback_error}", "ip link set lo up")
    elif facts.broker_error is not None:
        yield Problem(
            f"the broker {facts.broker} cannot be reached: {facts.broker_error}",
            "start it, or mend transport_url in the file given by --config",
        )


def _of_state_dir(facts: Facts, state: StateDir) -> Iterator[Problem]:
    root = state.root
    if not facts.writable:
        yield Problem(f"{root} cannot be written", f"install -d -m 700 {root}, or choose another --state-dir")
    if facts.holder is not None:
        yield Problem(
            f"{root} is in use by process {facts.holder}",
            f"kill {facts.holder}, or choose another --state-dir",
        )
    if facts.megabytes < DISK_MEGABYTES:
        yield Problem(
            f"{facts.megabytes} MB free for {root}; {DISK_MEGABYTES} MB are needed",
            "free some disk space (apt-get clean), or choose another --state-dir",
        )
    if facts.socket_path > SOCKET_PATH_LIMIT:
        yield Problem(
            f"{root} is too long for the sockets in it ({facts.socket_path} bytes of {SOCKET_PATH_LIMIT})",
            "choose a shorter --state-dir",
        )


def gather(state: StateDir, transport_url: str | None) -> Facts:
    """Look at the machine; takes well under a second and leaves no trace.

    :param transport_url: the broker that the configuration names, if any.
    """
    namespaces, nftables = _try_namespace()
    broker = _broker_of(transport_url) if transport_url else None
    return Facts(
        capabilities=_capabilities(Path("/proc/self/status").read_text()),
        release=_release(Path("/etc/os-release")),
        namespaces=namespaces,
        nftables=nftables,
        ipv6=_try_ipv6(),
        broker_program=Path(SERVER).exists() and Path(EPMD).exists(),
        broker=f"{broker[0]}:{broker[1]}" if broker else None,
        broker_error=_dial(*broker) if broker else None,
        loopback_error=_bind_loopback(),
        megabytes=shutil.disk_usage(_nearest(state.root)).free // 1_000_000,
        writable=_writable(state.root),
        holder=holder_of(state.lock),
        socket_path=len(os.fsencode(state.proxy_socket("service"))),
    )


def _capabilities(status: str) -> frozenset[int]:
    """Read the effective capabilities out of ``/proc/self/status``."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(number for number in range(64) if bits >> number & 1)
    return frozenset()


def _release(path: Path) -> tuple[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ("", "")
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return (found.get("ID", "").strip('"'), found.get("VERSION_ID", "").strip('"'))


def _broker_of(url: str) -> tuple[str, int]:
    # Several brokers are written with commas; one that answers is enough to begin with the first.
    parts = urlsplit(url.split(",")[0])
    return (parts.hostname or "localhost", parts.port or 5672)


def _dial(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host, port), _DIAL_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _bind_loopback() -> str | None:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return error.strerror or str(error)
    return None


def _try_ipv6() -> str | None:
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _nearest(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _writable(root: Path) -> bool:
    nearest = _nearest(root)
    read_only = bool(os.statvfs(nearest).f_flag & os.ST_RDONLY)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK) and not read_only


def holder_of(lock: Path) -> int | None:
    """Process id in a lock file that somebody holds; ``None`` for one that is free or absent."""
    try:
        with open(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text.isdigit() else 0
    except FileNotFoundError:
        pass
    return None


def _try_namespace() -> tuple[str | None, str | None]:
    """Make a network namespace in a thread that ends with it, and use nftables inside."""
    libc = ctypes.CDLL(None, use_errno=True)

    def probe() -> tuple[str | None, str | None]:
        if libc.unshare(CLONE_NEWNET):
            return os.strerror(ctypes.get_errno()), None
        return None, _try_nftables()

    return in_thread(probe)


def _try_nftables() -> str | None:
    try:
        with Nft() as nft:
            nft.transaction("add table inet nfp_probe")
    except NftError as error:
        return error.reason
    return None
