"""The agent's word to managers: I live, and these configurators I reach."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from nfp.agent.configurators import Configurators
from nfp.daemon.inflight import InFlight
from nfp.model.errors import NfpError

MANAGER_TOPIC = "nfp-service-manager"
METHOD = "report_agent"

_log = Logger()


class Caster(Protocol):
    """As much of :class:`nfp.rpc.client.RpcClient` as reports need."""

    async def cast(self, topic: str, method: str, args: Mapping[str, object], *, timeout: float) -> None:
        """Send a message that nobody answers."""


class Reporter(Service):
    """Casts ``report_agent`` at start, at each change of reachability or boot, and every *interval*.

    :param interval: seconds; a manager counts an agent as live for four times the default.
    :ivar boot_id: of this process.
    """

    name = "reporter"

    def __init__(
        self, reactor: Any, client: Caster, configurators: Configurators, host: str, interval: float
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._configurators = configurators
        self._host = host
        self._interval = interval
        self._in_flight = InFlight(_log)
        self._running: Deferred[None] | None = None
        self._heard = True
        self.boot_id = uuid.uuid4().hex

    def report(self) -> dict[str, object]:
        """What is told now."""
        now = datetime.fromtimestamp(self._reactor.seconds(), UTC)
        return {
            "host": self._host,
            "boot_id": self.boot_id,
            "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "configurators": [
                {
                    "name": link.configurator.name,
                    "tenant_id": link.configurator.tenant_id,
                    "router_id": link.configurator.router_id,
                    "boot_id": link.standing.boot_id,
                    "reachable": link.standing.reachable,
                }
                for link in self._configurators
            ],
        }

    def startService(self) -> None:
        """Begin to report."""
        Service.startService(self)
        self._running = self._in_flight.start("reports", self._run())

    def stopService(self) -> None:
        """Report no more."""
        Service.stopService(self)
        if self._running is not None:
            self._running.cancel()
            self._running = None

    async def _run(self) -> None:
        while True:
            began = self._reactor.seconds()
            told = [link.standing for link in self._configurators]
            arrived = await self._tell()
            left = began + self._interval - self._reactor.seconds()
            # What has changed meanwhile is told at once, but not to a broker that is away.
            if left > 0 and (not arrived or told == [link.standing for link in self._configurators]):
                await self._configurators.moved.wait(self._reactor, left)

    async def _tell(self) -> bool:
        """Send one report; one that does not arrive is not sent again, for the next one follows.

        :return: whether the broker has it.
        """
        try:
            await self._client.cast(MANAGER_TOPIC, METHOD, {"agent": self.report()}, timeout=self._interval)
        except CancelledError:
            raise
        except Exception as problem:  # noqa: BLE001 -- whatever keeps it back, the next one follows
            if self._heard:
                _log.warn("managers cannot be told: {reason}", reason=_text(problem))
            self._heard = False
        else:
            if not self._heard:
                _log.info("managers are told again")
            self._heard = True
        return self._heard


def _text(problem: Exception) -> str:
    return problem.reason if isinstance(problem, NfpError) else f"{type(problem).__name__}: {problem}"
