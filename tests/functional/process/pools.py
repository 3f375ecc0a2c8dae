"""Real pools for tests: real children, a folder of their own, and waiting for conditions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 -- real children need the real one
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

import nfp
from nfp.process.interfaces import Event, IPoolOwner
from nfp.process.keeper import Pulse
from nfp.process.pool import WorkerPool
from nfp.process.spawn import Spawner

GROUP = "nfp.test_modules"
DEADLINE = 30.0


def register(site: Path, entry_points: str, name: str = "nfp_process_tests") -> None:
    """Make *site* a folder of which importlib.metadata says that a package with *entry_points* is in it."""
    folder = site / f"{name}-1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(entry_points)


@implementer(IPoolOwner)
class Diary:
    """An owner that remembers what it was told."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.emitted: list[tuple[int, str, object]] = []
        self.held: list[tuple[str, str]] = []
        self.parked: list[tuple[Event, str]] = []

    def on_started(self, index: int) -> None:
        """A worker is ready."""
        self.started.append(index)

    def on_emit(self, index: int, name: str, payload: object) -> None:
        """A module told something."""
        self.emitted.append((index, name, payload))

    def on_held(self, key: str, why: str) -> None:
        """A key is held."""
        self.held.append((key, why))

    def on_parked(self, event: Event, why: str) -> None:
        """An event is parked."""
        self.parked.append((event, why))


async def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait until *condition* holds.

    :raises AssertionError: it did not before the deadline.
    """
    end = reactor.seconds() + deadline
    while not (found := condition()):
        if reactor.seconds() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        await deferLater(reactor, 0.01)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class PoolCase(TestCase):
    """Has a folder, and pools that end with the test."""

    timeout = 90

    def setUp(self) -> None:
        """Make the folder."""
        temporary = tempfile.TemporaryDirectory(prefix="nfp-process-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.site = self.folder / "site"
        register(self.site, f"[{GROUP}]\nbehaviour = tests.functional.process.behaviour:Behaviour\n")
        self.config = self.folder / "test.conf"
        self.config.write_text(str(self.folder))
        self.diary = Diary()

    def environ(self) -> dict[str, str]:
        """What children find our modules by."""
        root = Path(nfp.__file__).parent.parent
        return {**os.environ, "PYTHONPATH": f"{self.site}{os.pathsep}{root}"}

    def pool(self, count: int = 1, group: str = GROUP, **options: Any) -> WorkerPool:
        """Make a pool; :meth:`started` starts it."""
        reader = "tests.functional.process.behaviour:read"
        spawn = Spawner(
            reactor, group, reader, [str(self.config)], options.pop("modules", None), "test", self.environ()
        )
        options.setdefault("pulse", Pulse(first_pause=0.05))
        pool = WorkerPool(
            reactor,
            group,
            [str(self.config)],
            count,
            reader=reader,
            owner=self.diary,
            spawn=spawn,
            stop_timeout=10,
            **options,
        )
        self.addCleanup(pool.stopService)
        return pool

    async def started(self, count: int = 1, **options: Any) -> WorkerPool:
        """Make a pool and wait for its workers."""
        pool = self.pool(count, **options)
        pool.startService()
        await pool.when_started()
        return pool

    def perform(self, pool: WorkerPool, do: str, key: str | None = "k", **args: Any) -> Any:
        """Submit an event of the test module."""
        event = Event(key, "perform", {"args": {"do": do, **args}, "envelope": {}}, {"request_id": "req-1"})
        return pool.submit(event)

    def lines(self, beginning: str = "") -> list[str]:
        """What the workers wrote."""
        path = self.folder / "lines"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(beginning)]

    def touch(self, name: str) -> None:
        """Make the file that something waits for."""
        (self.folder / name).touch()
