"""Start a program that dies with its starter, and if wanted inside a network namespace.

Run as a file, ``python -S -E leash.py PARENT NAMESPACE PROGRAM ARGUMENT…``, and by nothing but
the supervisor: :func:`leashed` writes the command.  It imports nothing of ours, so that it costs
a few milliseconds before it becomes the program.

The kernel's parent-death signal survives ``exec`` but not ``fork``: the program looks after its
own children.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

NETNS_DIR = "/run/netns"
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000
_NO_NAMESPACE = "-"


def leashed(parent: int, argv: Sequence[str], namespace: str | None = None) -> list[str]:
    """Write the command that runs *argv* on the leash of process *parent*.

    :param namespace: name of the network namespace to run in; ``None`` stays in the parent's.
    """
    return [sys.executable, "-S", "-E", __file__, str(parent), namespace or _NO_NAMESPACE, *argv]


def _check(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def main(argv: Sequence[str]) -> None:
    """Put the leash on and become the program."""
    parent, namespace, *program = argv
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    os.setsid()  # a Ctrl-C in the terminal is for the supervisor, which stops everything in order
    if os.getppid() != int(parent):  # it died before the leash was on
        sys.exit(1)
    if namespace != _NO_NAMESPACE:
        entrance = os.open(f"{NETNS_DIR}/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        _check(libc.setns(entrance, _CLONE_NEWNET), f"entering namespace {namespace}")
        os.close(entrance)
    os.execvp(program[0], program)  # noqa: S606 - a list, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
