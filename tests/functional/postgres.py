"""A private PostgreSQL cluster for this test process: made when first asked for, gone at exit.

It listens on a UNIX socket in a temporary directory only, and keeps nothing on disk safely.
"""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import psycopg
from twisted.trial.unittest import SynchronousTestCase

USER = "nfp"
DEADLINE = 60.0
"""Seconds that making or starting the cluster may take."""


def database(test: SynchronousTestCase) -> str:
    """Make an empty database of the test's own.

    :return: its URL; it is dropped when the test has ended.
    """
    folder = _cluster()
    name = f"t{secrets.token_hex(6)}"
    _execute(folder, f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
    test.addCleanup(_execute, folder, f"DROP DATABASE {name} WITH (FORCE)")
    return f"postgresql://{USER}@/{name}?host={folder}"


def _execute(folder: Path, statement: str) -> None:
    with psycopg.connect(host=str(folder), user=USER, dbname="postgres", autocommit=True) as connection:
        connection.execute(statement.encode())


@lru_cache(maxsize=1)
def _cluster() -> Path:
    """Make and start the cluster.

    :return: the directory of its socket.
    """
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="nfp-test-postgres-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    as_user = _as_user(folder)
    data = folder / "data"
    made = subprocess.run(
        [
            *as_user,
            binaries / "initdb",
            "-A",
            "trust",
            "-U",
            USER,
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
            "-D",
            data,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    if made.returncode:
        raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": folder,
        "fsync": "off",
        "max_connections": 50,
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *as_user,
                binaries / "postgres",
                "-D",
                data,
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    atexit.register(_stop, process)
    _wait(process, folder, log)
    return folder


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        raise RuntimeError("PostgreSQL is not installed here: apt-get install postgresql")
    return found[-1]


def _as_user(folder: Path) -> list[str]:
    """Words before a command that run it unprivileged (PostgreSQL refuses root) and end it with us."""
    words = ["setpriv", "--pdeathsig=QUIT"]
    if os.getuid():
        return words
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [*words, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _wait(process: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            _execute(folder, "SELECT 1")
        except psycopg.OperationalError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        return
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT)
    process.wait(10)
