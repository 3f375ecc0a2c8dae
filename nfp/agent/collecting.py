"""The manager's ``get_notifications``: what all configurators have told, as soon as one has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service

from nfp.agent.configurators import Configurators, Link
from nfp.model.errors import NoSuchConfigurator

BOOT_PAUSE = 0.5
"""Seconds that a manager waits at most which acknowledges another boot than the present one."""


@dataclass(frozen=True)
class Acknowledged:
    """All up to *sequence* of that boot is stored."""

    boot_id: str
    sequence: int


class Collector(Service):
    """Answers managers.  It knows none of them: each asks for all that is not acknowledged.

    Stops before the RPC server does, which waits for the answers that are still due.
    """

    name = "collector"

    def __init__(self, reactor: Any, configurators: Configurators) -> None:
        self._reactor = reactor
        self._configurators = configurators
        self._stopped = False

    def stopService(self) -> None:
        """Let nobody wait any longer."""
        self._stopped = True
        self._configurators.news.ring()
        Service.stopService(self)

    async def get_notifications(
        self, acknowledge: Mapping[str, Acknowledged], wait: float
    ) -> dict[str, object]:
        """Take note of what is stored, then tell what is not.

        :param acknowledge: by configurator.
        :param wait: seconds to wait if there is nothing to tell.
        :return: ``{configurator: {boot_id, notifications, next} | {error}}``, all configurators each time.
        """
        unknown = self._acknowledge(acknowledge)
        await self._something(acknowledge, wait)
        return {link.configurator.name: link.answer() for link in self._configurators} | unknown

    def _acknowledge(self, acknowledge: Mapping[str, Acknowledged]) -> dict[str, object]:
        unknown: dict[str, object] = {}
        for name, stored in acknowledge.items():
            try:
                self._configurators.get(name).acknowledge(stored.boot_id, stored.sequence)
            except NoSuchConfigurator as problem:
                unknown[name] = {"error": {"code": problem.code, "message": problem.reason, "field": None}}
        return unknown

    async def _something(self, acknowledge: Mapping[str, Acknowledged], wait: float) -> None:
        """Wait until there is something to tell: a notification, or another boot of a configurator.

        Looking and going to wait happen in one turn of the reactor: nothing can come in between.
        """
        before = {link.configurator.name: link.standing.boot_id for link in self._configurators}
        if any(_changed(link, stored.boot_id) for link, stored in self._matched(acknowledge)):
            # It is told at the end of a short wait, not at once: a manager that had nothing of the
            # new boot to acknowledge may well ask with the old one again, and again.
            wait = min(wait, BOOT_PAUSE)
        deadline = self._reactor.seconds() + wait
        while not self._stopped and not self._worth_telling(before):
            left = deadline - self._reactor.seconds()
            if left <= 0:
                return
            await self._configurators.news.wait(self._reactor, left)

    def _matched(self, acknowledge: Mapping[str, Acknowledged]) -> Iterator[tuple[Link, Acknowledged]]:
        for link in self._configurators:
            if link.configurator.name in acknowledge:
                yield link, acknowledge[link.configurator.name]

    def _worth_telling(self, before: Mapping[str, str | None]) -> bool:
        return any(
            link.inbox or _changed(link, before[link.configurator.name]) for link in self._configurators
        )


def _changed(link: Link, boot_id: str | None) -> bool:
    """Whether the configurator has another boot than *boot_id*; one that is not reached has none."""
    return link.standing.reachable and link.standing.boot_id != boot_id
