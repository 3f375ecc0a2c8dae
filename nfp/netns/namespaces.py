"""Named network namespaces, as ``ip netns`` knows them: made, found, removed.

Blocking; call from a thread.  The calling thread itself never changes namespace.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nfp.netns.throwaway import in_thread

DIRECTORY = Path("/run/netns")

CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 4096, 16384, 1 << 20, 2
_NS_GET_NSTYPE = 0xB703
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

_libc = ctypes.CDLL(None, use_errno=True)


def path_of(name: str) -> Path:
    """Where the namespace called *name* is mounted.

    :raises ValueError: no namespace can have that name.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name of a network namespace")
    return DIRECTORY / name


def exists(name: str) -> bool:
    """Whether a namespace of that name is there; a left-over file without one does not count."""
    try:
        file = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return fcntl.ioctl(file, _NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False
    finally:
        os.close(file)


def open_file(name: str) -> int:
    """Open the namespace; the caller closes the file descriptor.

    :raises FileNotFoundError: there is none of that name.
    """
    if not exists(name):
        raise FileNotFoundError(errno.ENOENT, f"no network namespace {name}")
    return os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)


def names(prefix: str = "") -> list[str]:
    """Names of the namespaces that begin with *prefix*, in order."""
    try:
        found = [entry.name for entry in DIRECTORY.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(name for name in found if name.startswith(prefix) and _NAME.fullmatch(name))


def create(name: str) -> None:
    """Make a namespace with its loopback up.

    :raises FileExistsError: there is one of that name.
    """
    if not ensure(name):
        raise FileExistsError(errno.EEXIST, f"network namespace {name} exists")


def ensure(name: str) -> bool:
    """Make the namespace unless it is there; tells whether it was made now."""
    path = path_of(name)
    with _locked():
        if exists(name):
            return False
        # What a crash between these steps leaves is a plain file; it is simply used.
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o444))
        try:
            in_thread(lambda: _unshare_onto(path))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return True


def delete(name: str, *, force: bool = False) -> bool:
    """Remove the namespace and with it everything inside; tells whether it was there.

    Sockets that some process still holds keep its insides alive (and so the far ends of its
    links): whoever serves it must have let go before.

    :param force: remove the name even when a process is inside, which then keeps all alive.
    :raises OSError: ``EBUSY``, naming the processes that are inside.
    """
    path = path_of(name)
    with _locked():
        if not path.exists():
            return False
        if not force:
            inside = processes_inside(name)
            if inside:
                pids = ", ".join(str(pid) for pid in inside)
                raise OSError(errno.EBUSY, f"network namespace {name} has processes inside: {pids}")
        there = exists(name)
        if there and _libc.umount2(os.fsencode(path), _MNT_DETACH):
            _fail(f"unmount {path}")
        path.unlink(missing_ok=True)
        return there


def processes_inside(name: str) -> list[int]:
    """Ids of the processes whose network namespace it is, none when it is not there; walks ``/proc``."""
    if not exists(name):
        return []
    wanted = path_of(name).stat()
    found = []
    for process in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):  # it ended meanwhile
            seen = (process / "ns/net").stat()
            if (seen.st_ino, seen.st_dev) == (wanted.st_ino, wanted.st_dev):
                found.append(int(process.name))
    return sorted(found)


@contextmanager
def _locked() -> Iterator[None]:
    DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    file = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        _share_directory()
        yield
    finally:
        os.close(file)


def _share_directory() -> None:
    """Make the directory a shared mount, as ``ip netns add`` would.

    If ``ip`` did it later, its recursive copy would hide our mounts and pin their namespaces.
    """
    where = os.fsencode(DIRECTORY)
    if _libc.mount(b"", where, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:
        _fail(f"share {DIRECTORY}")
    if _libc.mount(where, where, b"none", _MS_BIND | _MS_REC, None):
        _fail(f"mount {DIRECTORY} onto itself")
    if _libc.mount(b"", where, b"none", _MS_SHARED | _MS_REC, None):
        _fail(f"share {DIRECTORY}")


def _unshare_onto(path: Path) -> None:
    if _libc.unshare(CLONE_NEWNET):
        _fail("make a network namespace")
    own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
    if _libc.mount(own.encode(), os.fsencode(path), b"none", _MS_BIND, None):
        _fail(f"mount a network namespace on {path}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack("16xH22x", fcntl.ioctl(plain, _SIOCGIFFLAGS, request))
        fcntl.ioctl(plain, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def _fail(what: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{what}: {os.strerror(code)}")


def enter(file: int, name: str) -> None:
    """Put the **calling thread** into a namespace, for good: only for throw-away threads."""
    if _libc.setns(file, CLONE_NEWNET):
        _fail(f"enter network namespace {name}")
