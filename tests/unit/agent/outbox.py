"""A configurator in memory, as the wire's contract has it, behind an agent's link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from nfp.agent.config import AgentSettings, ConfiguratorSettings
from nfp.model.errors import NfpError, Transient


class FakeConfigurator:
    """Keeps an outbox, holds polls, may be down.

    :ivar served: (method, path, params or body) of each request, in order.
    """

    def __init__(self, clock: Clock, boot_id: str = "boot-1") -> None:
        self._clock = clock
        self.boot_id = boot_id
        self.outbox: dict[int, dict[str, object]] = {}
        self.last = 0
        self.served: list[tuple[str, str, Any]] = []
        self.held: list[tuple[Deferred[None], int]] = []
        self.down: NfpError | None = None
        self.refuses: NfpError | None = None
        self.deaf = False
        self.closed = 0

    def tell(self, *texts: str) -> None:
        for text in texts:
            self.last += 1
            self.outbox[self.last] = {"sequence": self.last, "kind": text, "info": {}, "notification": []}
        self._release(lambda after: self.last > after)

    def restart(self, boot_id: str) -> None:
        """Lose everything, and every connection."""
        self.boot_id, self.outbox, self.last = boot_id, {}, 0
        self.break_connections()

    def go_down(self) -> None:
        self.down = Transient("connection refused")
        self.break_connections()

    def break_connections(self) -> None:
        held, self.held = self.held, []
        for one, _ in held:
            one.errback(Transient("connection lost"))

    def _release(self, wanted: Any) -> None:
        for one, after in list(self.held):
            if wanted(after):
                self.held.remove((one, after))
                one.callback(None)

    async def request(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        timeout: float | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> tuple[int, Any]:
        self.served.append((method, path, json if method == "POST" else dict(params or {})))
        if self.deaf:
            await Deferred().addTimeout(timeout, self._clock, onTimeoutCancel=_late)
        if self.down is not None:
            raise self.down
        if method == "POST":
            if self.refuses is not None:
                raise self.refuses
            return 202, {"request_id": "req-1", "boot_id": self.boot_id}
        return 200, await self._poll(params or {})

    async def _poll(self, params: Mapping[str, Any]) -> dict[str, object]:
        mine = params.get("boot") == self.boot_id
        after = int(params.get("after", 0)) if mine else 0
        for sequence in [number for number in self.outbox if number <= after]:
            del self.outbox[sequence]
        if mine and not self.outbox and params["wait"]:
            waiting: Deferred[None] = Deferred()
            entry = (waiting, after)
            self.held.append(entry)
            delayed = self._clock.callLater(int(params["wait"]), self._release, lambda _: True)
            try:
                await waiting
            except CancelledError:
                self.held.remove(entry)
                raise
            finally:
                if delayed.active():
                    delayed.cancel()
        told = list(self.outbox.values())[:256]
        return {"boot_id": self.boot_id, "notifications": told, "next": self.last}

    async def close(self) -> None:
        self.closed += 1

    @property
    def polls(self) -> list[dict[str, object]]:
        return [params for method, _, params in self.served if method == "GET"]


def _late(outcome: object, seconds: float) -> None:
    raise Transient("too late")


def agent_settings(*names: str, **others: Any) -> AgentSettings:
    return AgentSettings(
        host="host-1",
        configurators=tuple(
            ConfiguratorSettings(name, f"/run/{name}.sock", f"tenant-{name}", f"router-{name}")
            for name in names
        ),
        certificate="",
        ca="",
        **others,
    )
