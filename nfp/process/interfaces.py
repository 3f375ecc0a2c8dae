"""Contracts of the process model (``design.md`` section 2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from zope.interface import Attribute, Interface

from nfp.model.schemas import Schema

Args = Mapping[str, object]


@dataclass(frozen=True)
class Event:
    """One thing for a worker to do, on the queue that its key chooses.

    Everything in it travels as JSON.

    :ivar key: events of one key run in order, one at a time, in one worker; ``None`` goes to any.
    :ivar name: which event handler.
    :ivar payload: its input.
    :ivar context: request id and caller's context, carried into log lines and onward calls.
    """

    key: str | None
    name: str
    payload: Args
    context: Mapping[str, object] = field(default_factory=dict)


EventHandler = Callable[[Event], Awaitable[object]]


@dataclass(frozen=True)
class RpcHandler:
    """How a listener treats one RPC method.

    :ivar schema: JSON Schema of the ``args`` object, checked in the listener.
    :ivar event: name of the event that a worker gets; its payload is ``{"args", "envelope"}``
        where ``envelope`` holds ``unique_id``, ``timestamp`` and ``is_call``.
    :ivar key: the queue key of a request, from its arguments; ``None``: any worker.
    :ivar answer: a pure function that the listener answers with itself, at once; then no event is made.
    :ivar refused: called instead of the event when the schema check fails on a *cast*; makes the
        event that records the refusal, or ``None`` to only log it.
    """

    schema: Schema
    event: str = ""
    key: Callable[[Args], str | None] = lambda args: None
    answer: Callable[[Args], object] | None = None
    refused: Callable[[Args, str, str | None], Event | None] | None = None


class Settled:
    """A key's run ended with nothing left to do."""


@dataclass(frozen=True)
class RunAgain:
    """A key's run ended; run it again after *delay* seconds, or at the next wake."""

    delay: float


KeyHandler = Callable[[str], Awaitable[Settled | RunAgain]]


@dataclass(frozen=True)
class KeyKind:
    """How a worker runs keys of one kind.

    :ivar run: runs the key once; one key never runs twice at once.
    :ivar suspect: whether a run in progress makes the key a suspect when its worker dies.
        ``False`` for kinds that run nobody else's code (a long poll).
    """

    run: KeyHandler
    suspect: bool = True


class IWorkerContext(Interface):
    """What a module's code has inside a worker."""

    index = Attribute("the worker's number, an int from 0")
    reactor = Attribute("the worker's reactor: clock, connections, threads")

    def wake(key: str) -> None:
        """Ask that *key* be run, in whichever worker owns it; returns at once.  Wakes coalesce."""

    def submit(event: Event) -> Awaitable[object]:
        """Hand *event* to the worker that owns its key; gives the handler's result.

        :raises nfp.model.errors.NfpError: what the handler raised.
        """

    def emit(name: str, payload: object) -> None:
        """Tell the listener something unasked (a health status); it goes to :meth:`IPoolOwner.on_emit`."""


class IPoolOwner(Interface):
    """What a worker pool tells the process that it belongs to.  Plain calls that must not block.

    :class:`nfp.process.pool.Unheeding` takes them all and does nothing.
    """

    def on_started(index: int) -> None:
        """A fresh worker is ready, the first one of that number or a dead one's replacement.

        Now is the time to :meth:`wake <nfp.process.pool.WorkerPool.wake>` keys or to submit what
        only the dead worker knew.  Events that waited for the worker are before it in the queue, and
        suspects of the death run first; do not hand over again what :meth:`on_parked` has told.
        """

    def on_emit(index: int, name: str, payload: object) -> None:
        """A module in worker *index* called :meth:`IWorkerContext.emit`."""

    def on_held(key: str, why: str) -> None:
        """*key* has been alone at its worker's death too often and is run no more.

        Wakes of it are ignored until :meth:`nfp.process.pool.WorkerPool.release`.

        :param why: for an operator: how the worker died, with the last traceback where there is one.
        """

    def on_parked(event: Event, why: str) -> None:
        """*event* has been alone at its worker's death too often; its submitter got ``Permanent``."""


class IModule(Interface):
    """A set of RPC methods, events and keys; loaded in the listener and in each worker.

    Third parties add one by an entry point in the component's group
    (``nfp.manager_modules``, ``nfp.configurator_modules``) that names a callable
    ``factory(settings) -> IModule``, where *settings* is the component's configuration.
    """

    name = Attribute("the module's name, unique in its component")

    def rpc_handlers() -> Mapping[str, RpcHandler]:
        """RPC methods by name; a plain table, asked for when the module has been made."""

    def event_handlers() -> Mapping[str, EventHandler]:
        """Event handlers by event name.  Called in a worker, after :meth:`start`."""

    def key_kinds() -> Mapping[str, KeyKind]:
        """Kinds of keys by prefix: the text before the first ``:``.  Called in a worker, after start."""

    def start(context: IWorkerContext) -> Awaitable[None]:
        """Make ready in a worker (open the store, connect); returns when events may come."""

    def stop() -> Awaitable[None]:
        """Let go in a worker; called once, after the last event has finished or the time is up."""
