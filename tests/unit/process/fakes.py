"""Workers that are objects: they remember what they were told, and do what the test says."""

from __future__ import annotations

import json
from typing import Any

from zope.interface import implementer

from nfp.process import wire
from nfp.process.interfaces import Event, IPoolOwner
from nfp.process.spawn import Ended, Received


class FakeChild:
    """A worker that runs nothing by itself."""

    def __init__(self, index: int, received: Received, ended: Ended) -> None:
        self.index = index
        self.pid: int | None = 1000 + index
        self.told: list[list[Any]] = []
        self.ends: list[str] = []
        self._received = received
        self._ended = ended

    def send(self, message: bytes) -> None:
        """Remember."""
        self.told.append(json.loads(message))

    def abort(self) -> None:
        """Die as a real one does."""
        self.ends.append("abort")
        self.dies("signal 6")

    def kill(self) -> None:
        """Die as a real one does."""
        self.ends.append("kill")
        self.dies("signal 9")

    # Now it happens

    def says(self, *message: Any) -> None:
        """Send to the listener."""
        self._received(json.loads(wire.encode(*message)))

    def is_ready(self, **kinds: bool) -> None:
        """Be ready."""
        self.says(wire.READY, kinds or {"key": True, "poll": False})

    def dies(self, why: str) -> None:
        """End."""
        self._ended(why)

    def take(self, code: str) -> list[list[Any]]:
        """The messages of one code, which are forgotten."""
        found = [message for message in self.told if message[0] == code]
        self.told = [message for message in self.told if message[0] != code]
        return found


class Nursery:
    """Spawns fakes."""

    def __init__(self) -> None:
        self.children: list[FakeChild] = []
        self.refusals = 0

    def __call__(self, index: int, received: Received, ended: Ended) -> FakeChild:
        """Start one."""
        if self.refusals:
            self.refusals -= 1
            raise OSError("no more processes")
        child = FakeChild(index, received, ended)
        self.children.append(child)
        return child


@implementer(IPoolOwner)
class Diary:
    """An owner that remembers."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []

    def on_started(self, index: int) -> None:
        """A worker is ready."""
        self.entries.append(("started", index))

    def on_emit(self, index: int, name: str, payload: object) -> None:
        """A module told something."""
        self.entries.append(("emit", index, name, payload))

    def on_held(self, key: str, why: str) -> None:
        """A key is held."""
        self.entries.append(("held", key, why))

    def on_parked(self, event: Event, why: str) -> None:
        """An event is parked."""
        self.entries.append(("parked", event.name, why))
