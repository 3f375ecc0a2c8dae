"""Modules for tests of the registry, the listener and the runner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from zope.interface import implementer

from nfp.process.interfaces import EventHandler, IModule, IWorkerContext, KeyKind, RpcHandler


@implementer(IModule)
class Plain:
    """A module made of tables."""

    def __init__(
        self,
        name: str = "plain",
        methods: Mapping[str, RpcHandler] | None = None,
        events: Mapping[str, EventHandler] | None = None,
        kinds: Mapping[str, KeyKind] | None = None,
        stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self._methods = methods or {}
        self._events = events or {}
        self._kinds = kinds or {}
        self._stop = stop
        self.context: IWorkerContext | None = None

    def rpc_handlers(self) -> Mapping[str, RpcHandler]:
        """The table."""
        return self._methods

    def event_handlers(self) -> Mapping[str, EventHandler]:
        """The table."""
        return self._events

    def key_kinds(self) -> Mapping[str, KeyKind]:
        """The table."""
        return self._kinds

    async def start(self, context: IWorkerContext) -> None:
        """Remember."""
        self.context = context

    async def stop(self) -> None:
        """Do what the test says."""
        if self._stop is not None:
            await self._stop()


def good(settings: Any) -> Plain:
    """Make one that remembers what it got."""
    return Plain(f"good-{settings}", {"hello": RpcHandler({})})


def rival(settings: Any) -> Plain:
    """Make one that claims the same method."""
    return Plain("rival", {"hello": RpcHandler({})})


def failing(settings: Any) -> Plain:
    """Fail to make one."""
    raise ValueError("no licence")


def other(settings: Any) -> object:
    """Make something else."""
    return object()


@implementer(IModule)
class Half:
    """Says that it is a module, and is none."""

    name = "half"

    def __init__(self, settings: Any) -> None:
        pass
