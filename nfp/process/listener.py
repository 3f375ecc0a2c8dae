"""Turns a request into its answer: checked, queued, answered when a worker has done with it.

Serves the manager's AMQP listener and the configurator's REST listener alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from nfp.model.errors import Invalid, NotFound
from nfp.model.schemas import check
from nfp.process.interfaces import Args, Event, IModule, RpcHandler
from nfp.process.registry import methods_of


class Submits(Protocol):
    """What a listener needs of a pool."""

    def submit(self, event: Event) -> Deferred[object]:
        """Queue an event."""


class Listener:
    """Knows methods only through modules, and decides nothing.

    :param pool: gets the events.
    :param modules: whose methods are served.
    :raises nfp.process.registry.Claimed: two of them have one method.
    """

    log = Logger()

    def __init__(self, pool: Submits, modules: Iterable[IModule]) -> None:
        self._pool = pool
        self._methods = methods_of(modules)

    @property
    def methods(self) -> Mapping[str, RpcHandler]:
        """What is served, by name."""
        return self._methods

    async def handle(
        self, method: str, args: Args, envelope: Mapping[str, object], context: Mapping[str, object]
    ) -> object:
        """Answer one request; returns when a worker has done what it asks.

        :param envelope: ``unique_id``, ``timestamp`` and ``is_call``, handed on to the event.
        :param context: the caller's, handed on to the event; its ``request_id`` marks log lines.
        :raises nfp.model.errors.NotFound: no module has that method.
        :raises nfp.model.errors.Invalid: *args* are not what the method wants.
        :raises nfp.model.errors.NfpError: what the handler raised.
        """
        handler = self._methods.get(method)
        if handler is None:
            raise NotFound(f"there is no method {method!r}")
        try:
            check(args, handler.schema)
        except Invalid as error:
            return await self._refused(method, handler, args, envelope, context, error)
        if handler.answer is not None:
            return handler.answer(args)
        payload = {"args": args, "envelope": envelope}
        return await self._pool.submit(Event(handler.key(args), handler.event, payload, context))

    async def _refused(
        self,
        method: str,
        handler: RpcHandler,
        args: Args,
        envelope: Mapping[str, object],
        context: Mapping[str, object],
        error: Invalid,
    ) -> object:
        """A caller is told; of a cast, which nobody waits for, the module may keep a record."""
        if envelope.get("is_call", True):
            raise error
        self.log.warn(
            "refused a {method}: {why}", method=method, why=str(error), request_id=context.get("request_id")
        )
        event = handler.refused(args, error.reason, error.field) if handler.refused is not None else None
        if event is not None:
            await self._pool.submit(
                event if event.context else Event(event.key, event.name, event.payload, context)
            )
        return None
