"""A module whose events and keys do what tests ask of them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.task import deferLater
from zope.interface import implementer

from nfp.daemon.journal import request_id
from nfp.model.errors import Conflict, Unavailable
from nfp.process.interfaces import (
    Event,
    EventHandler,
    IModule,
    IWorkerContext,
    KeyKind,
    RpcHandler,
    RunAgain,
    Settled,
)

SCHEMA = {"type": "object", "required": ["do"], "properties": {"do": {"type": "string"}}}


def read(files: list[str]) -> Mapping[str, str]:
    """Settings of the tests: the folder that they write into."""
    return {"folder": Path(files[0]).read_text().strip()}


@implementer(IModule)
class Behaviour:
    """Does what an event's ``do`` or the middle of a key says."""

    name = "behaviour"

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._folder = Path(settings["folder"])
        self._counts: dict[str, int] = {}
        self._context: IWorkerContext

    def rpc_handlers(self) -> Mapping[str, RpcHandler]:
        """One method, keyed by its argument, and one answered at once."""
        return {
            "perform": RpcHandler(SCHEMA, "perform", lambda args: args.get("key")),
            "plumbing": RpcHandler({}, answer=lambda args: {"plumbing": args}),
        }

    def event_handlers(self) -> Mapping[str, EventHandler]:
        """Events."""
        return {"perform": self._perform, "note": self._note, "echo": self._echo}

    def key_kinds(self) -> Mapping[str, KeyKind]:
        """Keys that run, and keys that poll."""
        return {"key": KeyKind(self._run), "poll": KeyKind(self._poll, suspect=False)}

    async def start(self, context: IWorkerContext) -> None:
        """Remember the context."""
        self._context = context

    async def stop(self) -> None:
        """Leave a trace."""
        self.write("stopped")

    def write(self, line: str) -> None:
        """Append to the journal that the test reads."""
        with (self._folder / "lines").open("a") as file:
            file.write(line + "\n")

    async def _echo(self, event: Event) -> object:
        return event.payload

    async def _note(self, event: Event) -> object:
        self.write(f"note {event.payload['n']} {os.getpid()}")
        return request_id.get()

    async def _perform(self, event: Event) -> object:
        args = event.payload["args"]
        assert isinstance(args, dict)
        self.write(f"perform {args['do']} {args.get('n')}")
        return await getattr(self, f"_do_{args['do']}")(args)

    async def _do_answer(self, args: dict) -> object:
        return {"pid": os.getpid(), "index": self._context.index, "n": args.get("n")}

    async def _do_wait(self, args: dict) -> object:
        """Until the test makes the file."""
        while not (self._folder / args["file"]).exists():
            await deferLater(self._context.reactor, 0.01)
        return {"pid": os.getpid(), "n": args.get("n")}

    async def _do_die(self, args: dict) -> object:
        os.abort()

    async def _do_hang(self, args: dict) -> object:
        while True:
            time.sleep(0.05)  # noqa: TID251, ASYNC251 -- a handler that blocks the reactor is what it is about

    async def _do_conflict(self, args: dict) -> object:
        raise Conflict("is another's", field="owner")

    async def _do_break(self, args: dict) -> object:
        raise RuntimeError("secret detail")

    async def _do_store_away(self, args: dict) -> object:
        if not (self._folder / "store").exists():
            raise Unavailable("the store is away")
        return "stored"

    async def _do_ask(self, args: dict) -> object:
        """Ask the worker that owns another key."""
        return await self._context.submit(Event(args["of"], "note", {"n": args.get("n")}))

    async def _do_emit(self, args: dict) -> object:
        self._context.emit("health", {"n": args.get("n")})
        self._context.wake(args["wake"])
        return None

    async def _do_spawn(self, args: dict) -> object:
        return {"pid": self._process().pid, "ours": os.getpid()}

    def _process(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "600"])

    async def _run(self, key: str) -> Settled | RunAgain:
        _, what, name = key.split(":")
        count = self._counts[key] = self._counts.get(key, 0) + 1
        self.write(f"run {what} {name} {count}")
        if what == "die":
            os.abort()
        if what == "again" and count < 3:
            return RunAgain(0.05)
        if what == "fail" and count < 2:
            raise RuntimeError("once")
        if what == "slow":
            await self._do_wait({"file": name})
            self.write(f"end {what} {name} {count}")
        return Settled()

    async def _poll(self, key: str) -> Settled | RunAgain:
        self.write(f"poll {key} {os.getpid()}")
        await deferLater(self._context.reactor, 600)
        return Settled()
