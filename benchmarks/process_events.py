"""Events per second through listener, worker and back; beside it the bare pipe.

::

    python benchmarks/process_events.py [--workers 4] [--seconds 5] [--profile]

Each event carries 600 bytes of payload under one of 1,000 keys, and 400 are under way at any
time.  Three figures are told for each number of workers:

``raw``      the same messages, framing and batches through socket pairs to children that send
             each message back and do nothing else: the limit that the design can reach.
``pool``     :meth:`nfp.process.pool.WorkerPool.submit` to an event handler that returns its input's number.
``listener`` the same through :meth:`nfp.process.listener.Listener.handle` with its schema check.

and the median time of an event when only one is under way.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 -- a program of its own
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import react
from zope.interface import implementer

from nfp.process import wire
from nfp.process.interfaces import Event, EventHandler, IModule, KeyKind, RpcHandler
from nfp.process.listener import Listener
from nfp.process.pool import WorkerPool
from nfp.process.spawn import Spawner

GROUP = "nfp.benchmark_modules"
HERE = Path(__file__).resolve().parent
UNDER_WAY = 400
TEXT = "x" * 540
SCHEMA = {
    "type": "object",
    "required": ["number", "text"],
    "properties": {"number": {"type": "integer"}, "text": {"type": "string", "maxLength": 1000}},
}

Do = Callable[[int], Awaitable[object]]


def read(files: list[str]) -> None:
    """No settings."""


@implementer(IModule)
class Numbers:
    """Gives back the number that it is sent."""

    name = "numbers"

    def __init__(self, settings: object) -> None:
        pass

    def rpc_handlers(self) -> Mapping[str, RpcHandler]:
        """One method."""
        return {"number": RpcHandler(SCHEMA, "number", lambda args: f"key:{args['number'] % 1000}")}  # type: ignore[operator]

    def event_handlers(self) -> Mapping[str, EventHandler]:
        """One event."""
        return {"number": self._number}

    def key_kinds(self) -> Mapping[str, KeyKind]:
        """None."""
        return {}

    async def start(self, context: object) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def _number(self, event: Event) -> object:
        return event.payload["args"]["number"]  # type: ignore[index]


def event_of(number: int) -> Event:
    """An event of about 600 bytes."""
    payload = {"args": {"number": number, "text": TEXT}, "envelope": {"unique_id": f"{number:032x}"}}
    return Event(f"key:{number % 1000}", "number", payload, {"request_id": "req-benchmark"})


async def rate(do: Do, seconds: float) -> float:
    """Keep :data:`UNDER_WAY` under way for *seconds*; events per second."""
    done, end = 0, time.monotonic() + seconds

    async def one(number: int) -> None:
        nonlocal done
        while time.monotonic() < end:
            if await do(number) != number:
                raise AssertionError("a wrong answer")
            done += 1
            number += UNDER_WAY

    begun = time.monotonic()
    for work in [Deferred.fromCoroutine(one(number)) for number in range(UNDER_WAY)]:
        await work
    return done / (time.monotonic() - begun)


async def alone(do: Do, count: int = 500) -> float:
    """Median time of one event at a time, in ms."""
    took = []
    for number in range(count):
        begun = time.perf_counter()
        await do(number)
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


class Echo:
    """The bare pipe: children that send back what comes, in the frames in which it comes."""

    CHILD = (
        "import socket\n"
        "s = socket.socket(fileno=3)\n"
        "while True:\n"
        "    data = s.recv(65536)\n"
        "    if not data: break\n"
        "    s.sendall(data)\n"
    )

    def __init__(self, count: int) -> None:
        self._asked: dict[int, Deferred[object]] = {}
        self._wires = [self._child() for _ in range(count)]

    def _child(self) -> wire.Wire:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            reactor.spawnProcess(  # type: ignore[attr-defined]
                ProcessProtocol(),
                sys.executable,
                [sys.executable, "-c", self.CHILD],
                env=os.environ,
                childFDs={0: 0, 1: 1, 2: 2, 3: theirs.fileno()},
            )
            end = wire.Wire(reactor, self._received, lambda: None)  # type: ignore[arg-type]
            reactor.adoptStreamConnection(  # type: ignore[attr-defined]
                ours.fileno(),
                socket.AF_UNIX,
                Factory.forProtocol(lambda: end),  # type: ignore[arg-type]
            )
        return end

    def _received(self, message: list[Any]) -> None:
        self._asked.pop(message[1]).callback(message[4]["args"]["number"])

    def do(self, number: int) -> Deferred[object]:
        """Send an event and wait for it."""
        event = event_of(number)
        answer = self._asked[number] = Deferred()
        self._wires[number % len(self._wires)].send(
            wire.encode(wire.EVENT, number, event.key, event.name, event.payload, event.context)
        )
        return answer

    def stop(self) -> None:
        """End the children."""
        for end in self._wires:
            end.drop()


def register(site: Path) -> None:
    """Make the module of this file known by entry point."""
    folder = site / "nfp_benchmark-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: nfp_benchmark\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(f"[{GROUP}]\nnumbers = process_events:Numbers\n")


async def measure(workers: int, seconds: float, site: Path, profile: bool) -> None:
    """Tell the figures for *workers* workers."""
    echo = Echo(workers)
    await rate(echo.do, 0.5)
    raw, raw_alone = await rate(echo.do, seconds), await alone(echo.do)
    echo.stop()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(HERE), str(HERE.parent)))}
    spawn = Spawner(reactor, GROUP, "process_events:read", (), None, "benchmark", environ)
    pool = WorkerPool(reactor, GROUP, (), workers, reader="process_events:read", spawn=spawn)
    pool.startService()
    await pool.when_started()
    listener = Listener(pool, [Numbers(None)])
    args = {"unique_id": "0" * 32, "timestamp": None, "is_call": True}

    def submit(number: int) -> Deferred[object]:
        return pool.submit(event_of(number))

    def handle(number: int) -> Awaitable[object]:
        return listener.handle(
            "number", {"number": number, "text": TEXT}, args, {"request_id": "req-benchmark"}
        )

    await rate(submit, 0.5)
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    through, through_alone = await rate(submit, seconds), await alone(submit)
    if profile:
        profiler.disable()
        profiler.print_stats("tottime")
    handled, handled_alone = await rate(handle, seconds), await alone(handle)
    await pool.stopService()
    print(
        f"{workers} workers: raw {raw:,.0f}/s ({raw_alone:.2f} ms alone), pool {through:,.0f}/s"
        f" ({through_alone:.2f} ms alone), listener {handled:,.0f}/s ({handled_alone:.2f} ms alone);"
        f" pool/raw {through / raw:.2f}, listener/raw {handled / raw:.2f}",
        flush=True,
    )


async def main(_: object, *argv: str) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, action="append", help="default: 4, then 2")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--profile", action="store_true", help="tell where the listener's time goes")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        register(Path(folder))
        for workers in options.workers or (4, 2):
            await measure(workers, options.seconds, Path(folder), options.profile)


if __name__ == "__main__":
    react(lambda reactor, *argv: Deferred.fromCoroutine(main(reactor, *argv)), sys.argv[1:])
