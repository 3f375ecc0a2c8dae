"""Work done inside a namespace by a throw-away thread: functions, sockets, processes, sysctls.

What such a thread sees is the namespace's network only; ``/sys`` and ``/etc`` are the host's.
Blocking; call from a thread.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from nfp.netns import namespaces
from nfp.netns.throwaway import in_thread

T = TypeVar("T")

_SYSCTL = re.compile(r"net/[A-Za-z0-9_/-]+(\.[0-9]+)?[A-Za-z0-9_/-]*")


def inside(name: str | None, function: Callable[[], T]) -> T:
    """Run *function* in the namespace called *name*.

    :param name: ``None`` is the namespace of this process; then the caller's own thread runs it.
    :raises FileNotFoundError: there is no such namespace.
    """
    if name is None:
        return function()
    file = namespaces.open_file(name)
    try:

        def run() -> T:
            namespaces.enter(file, name)
            return function()

        return in_thread(run)
    finally:
        os.close(file)


def socket_inside(
    name: str | None, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0
) -> socket.socket:
    """Make a socket that belongs to the namespace, whoever uses it afterwards."""
    return inside(name, lambda: socket.socket(family, kind, protocol))


def listen_inside(name: str | None, host: str, port: int, backlog: int = 128) -> socket.socket:
    """Make a listening TCP socket inside, not blocking: ``reactor.adoptStreamPort`` takes it.

    :param host: an address literal; an IPv6 one takes IPv6 only.
    :param port: 0 lets the kernel choose.
    """
    family = socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6
    listening = socket_inside(name, family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(backlog)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def connect_inside(name: str | None, host: str, port: int, timeout: float) -> socket.socket:
    """Connect from inside to an address literal.

    :param timeout: seconds, also left on the socket.
    """
    family = socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6
    connecting = socket_inside(name, family)
    try:
        connecting.settimeout(timeout)
        connecting.connect((host, port))
    except BaseException:
        connecting.close()
        raise
    return connecting


def popen_inside(name: str | None, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a process inside; its standard input is empty unless *options* say otherwise.

    It must not ask to die with its parent (``PR_SET_PDEATHSIG``): its parent is the throw-away thread.

    :param options: as for :class:`subprocess.Popen`, without ``shell``.
    """
    if options.get("shell"):
        raise ValueError("no shell, ever")
    options.setdefault("stdin", subprocess.DEVNULL)
    return inside(name, lambda: subprocess.Popen(list(arguments), **options))  # noqa: S603


def set_sysctls(name: str | None, values: Mapping[str, str]) -> None:
    """Write sysctls of the namespace.

    :param values: value by path below ``/proc/sys``, such as ``net/ipv4/ip_forward``.
    """
    paths = {Path("/proc/sys") / _sysctl(key): value for key, value in values.items()}

    def write() -> None:
        for path, value in paths.items():
            path.write_text(value)

    if paths:
        inside(name, write)


def get_sysctl(name: str | None, key: str) -> str:
    """Read a sysctl of the namespace."""
    path = Path("/proc/sys") / _sysctl(key)
    return inside(name, path.read_text).strip()


def _sysctl(key: str) -> str:
    if not _SYSCTL.fullmatch(key):
        raise ValueError(f"{key!r} is not a sysctl of the network")
    return key
