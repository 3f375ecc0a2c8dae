"""Fetches notifications from one agent and has them stored before they are acknowledged (I6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nfp.manager.instruct import CallAgent
from nfp.model.errors import NfpError, Permanent
from nfp.model.requests import NOTIFICATIONS
from nfp.process.interfaces import Event, RunAgain, Settled

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0

Submit = Callable[[Event], Awaitable[object]]


class Poller:
    """Polls agents; one run is one poll.

    :param call: reaches an agent.
    :param lease: makes polling an agent ours; see :func:`nfp.manager.store.leases.take_agent`.
    :param submit: has a notification stored by the worker that owns its device.
    :param wait: seconds that a poll waits for something to come.
    """

    _log = Logger()

    def __init__(
        self,
        call: CallAgent,
        lease: Callable[[str], Awaitable[float | None]],
        submit: Submit,
        wait: float,
        clock: IReactorTime,
    ) -> None:
        self._call = call
        self._lease = lease
        self._submit = submit
        self._wait = wait
        self._clock = clock
        self._stored: dict[str, dict[str, dict[str, Any]]] = {}
        self._pauses: dict[str, float] = {}

    async def run(self, key: str) -> Settled | RunAgain:
        """Poll the agent that *key* names, once."""
        host = key.partition(":")[2]
        again = await self._lease(host)
        if again is None:
            self._stored.pop(host, None)
            self._log.warn("agent {host} has not reported itself; it is polled no more", host=host)
            return Settled()
        if again:
            return RunAgain(again)
        args = {"acknowledge": self._stored.get(host, {}), "wait": self._wait}
        try:
            answer = await self._call(host, "get_notifications", args)
            good = await self._take(host, answer)
        except NfpError as error:
            self._log.warn("polling agent {host} failed: {reason}", host=host, reason=str(error))
            good = False
        if good:
            self._pauses.pop(host, None)
            return RunAgain(0.0)
        pause = self._pauses[host] = min(self._pauses.get(host, FIRST_PAUSE / 2) * 2, LONGEST_PAUSE)
        return RunAgain(pause)

    async def _take(self, host: str, answer: Mapping[str, Any]) -> bool:
        """Store what came, and remember how far each configurator's is stored; ``False``: not all of it."""
        stored = self._stored.setdefault(host, {})
        good = True
        for name, part in answer.items():
            if "notifications" not in part:
                continue
            boot_id, items = part["boot_id"], part["notifications"]
            sequence = await self._store(name, boot_id, items)
            good = good and (not items or sequence == items[-1]["sequence"])
            if sequence is not None:
                stored[name] = {"boot_id": boot_id, "sequence": sequence}
            elif stored.get(name, {}).get("boot_id") != boot_id:
                stored[name] = {"boot_id": boot_id, "sequence": 0}
        return good

    async def _store(self, name: str, boot_id: str, items: list[Mapping[str, Any]]) -> int | None:
        """Store *items*; gives the highest sequence up to which all are."""
        waiting = [Deferred.fromCoroutine(self._store_one(name, boot_id, item)) for item in items]
        results: list[tuple[bool, Any]] = await DeferredList(waiting, consumeErrors=True)
        highest = None
        for (good, value), item in zip(results, items, strict=True):
            if not good:
                self._log.warn(
                    "notification {sequence} of {name} is not stored: {reason}",
                    sequence=item["sequence"],
                    name=name,
                    reason=value.getErrorMessage(),
                )
                break
            highest = item["sequence"]
        return highest

    async def _store_one(self, name: str, boot_id: str, item: Mapping[str, Any]) -> None:
        device_id = _device_of(item)
        if device_id is None:
            self._log.error("an unreadable notification of {name}: {item}", name=name, item=str(item)[:500])
            return
        payload = {"boot_id": boot_id, "configurator": name, "notification": dict(item)}
        request_id = (item["info"].get("context") or {}).get("request_id")
        context = {"request_id": request_id} if request_id else {}
        try:
            await self._submit(Event(f"device:{device_id}", item["kind"], payload, context))
        except Permanent as error:
            self._log.error("a notification of {name} is given up: {reason}", name=name, reason=str(error))


def _device_of(item: Mapping[str, Any]) -> str | None:
    """The device that a notification is about; ``None`` when it cannot be read."""
    if item.get("kind") not in NOTIFICATIONS:
        return None
    try:
        data = item["notification"][0]["data"]
        context = item["info"].get("context") or {}
        device_id = data.get("nsd_id") or context["nsd_id"]
    except (LookupError, TypeError, AttributeError):
        return None
    return device_id if isinstance(device_id, str) else None
