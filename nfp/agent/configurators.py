"""The configurators that this agent reaches: a way to each, a long poll on each, what is known of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from nfp.agent.bell import Bell
from nfp.agent.config import AgentSettings, ConfiguratorSettings
from nfp.agent.inbox import Inbox
from nfp.daemon.inflight import InFlight
from nfp.model.errors import Invalid, NfpError, NoSuchConfigurator, Permanent, Transient
from nfp.model.schemas import check
from nfp.rest.client import JsonClient
from nfp.rest.dial import Dial, over_unix
from nfp.rest.tls import client_options

_log = Logger()

FIRST_RETRY = 0.25
GROWTH = 1.6
SHORTEST_POLL = 0.25
"""Seconds between two polls that bring nothing: a configurator that does not hold them costs no more."""

_POLLED = {
    "type": "object",
    "required": ["boot_id", "notifications"],
    "properties": {
        "boot_id": {"type": "string", "minLength": 1},
        "notifications": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["sequence"],
                "properties": {"sequence": {"type": "integer", "minimum": 1}},
            },
        },
    },
}
_TAKEN = {
    "type": "object",
    "required": ["request_id", "boot_id"],
    "properties": {"boot_id": {"type": "string", "minLength": 1}},
}


class Client(Protocol):
    """As much of :class:`nfp.rest.client.JsonClient` as a link uses."""

    async def request(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        timeout: float | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> tuple[int, Any]:
        """Send a request and give status and parsed answer."""

    async def close(self) -> None:
        """Close what is kept open."""


@dataclass(frozen=True)
class Standing:
    """What is known about a configurator.

    :ivar boot_id: of its last answer, ``None`` before the first.
    :ivar reachable: whether the last poll was answered.
    """

    boot_id: str | None = None
    reachable: bool = False


class Link:
    """One configurator.

    :param requests: carries the operations.
    :param polls: carries the long poll, so that it never stands in line behind requests.
    :param news: called when notifications or another boot have come.
    :param moved: called when :attr:`standing` has changed.
    """

    def __init__(
        self,
        reactor: Any,
        settings: AgentSettings,
        configurator: ConfiguratorSettings,
        requests: Client,
        polls: Client,
        news: Callable[[], None],
        moved: Callable[[], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._requests = requests
        self._polls = polls
        self._news = news
        self._moved = moved
        self._jitter = jitter
        self._bell = Bell()
        self._retry = FIRST_RETRY
        self._closed = False
        self.configurator = configurator
        self.inbox = Inbox()
        self.standing = Standing()
        self.problem: NfpError = Transient("not reached yet")

    async def post(self, operation: str, body: object) -> dict[str, object]:
        """Hand an operation to the configurator.

        :return: its ``request_id`` and ``boot_id``.
        :raises NfpError: what it answered, or ``Transient`` when it was not reached.
        """
        _, answer = await self._requests.request(
            "POST", f"/v1/nfp/{operation}", json=body, timeout=self._settings.request_timeout
        )
        _check(answer, _TAKEN)
        if self.standing != Standing(answer["boot_id"], True):
            self._bell.ring()  # it lives, or lives anew: do not sleep any longer before the next poll
        return {"request_id": answer["request_id"], "boot_id": answer["boot_id"]}

    def acknowledge(self, boot_id: str, sequence: int) -> None:
        """Pass on that a manager has stored all up to *sequence*."""
        self.inbox.acknowledge(boot_id, sequence)
        if not self.inbox:
            self._bell.ring()

    def answer(self) -> dict[str, object]:
        """This configurator's part of what a manager is told."""
        if self.inbox or self.standing.reachable:
            return self.inbox.answer()
        problem = self.problem
        return {"error": {"code": problem.code, "message": problem.reason, "field": problem.field}}

    async def run(self) -> None:
        """Poll, until cancelled.

        Work that runs at the moment cannot be cancelled, and whoever hears our news may end us:
        therefore :meth:`close` also leaves a mark.
        """
        while not self._closed:
            try:
                await self._wait_for_room()
                await self._poll()
                self._retry = FIRST_RETRY
                continue
            except CancelledError:
                raise
            except NfpError as problem:
                self._lost(problem)
            except Exception:  # noqa: BLE001 -- a poll that ended would be silence for ever
                _log.failure("the poll of {configurator} failed", configurator=self.configurator.name)
                self._lost(Transient("the agent could not read its answer; see the agent's log"))
            if self._closed:
                return
            pause = self._retry * (1 + self._jitter() / 4)
            self._retry = min(self._retry * GROWTH, self._settings.longest_retry)
            await self._bell.wait(self._reactor, pause)

    async def _wait_for_room(self) -> None:
        """While something is unacknowledged a poll is answered at once: look only now and then."""
        if self.inbox:
            await self._bell.wait(self._reactor, self._settings.look_interval)

    async def _poll(self) -> None:
        wait = 0 if self.inbox or not self.standing.reachable else self._settings.poll_wait
        params: dict[str, str | int] = {"wait": wait}
        if self.inbox.boot_id is not None:
            params |= {"boot": self.inbox.boot_id, "after": self.inbox.acknowledged}
        began = self._reactor.seconds()
        _, answer = await self._polls.request(
            "GET",
            "/v1/nfp/notifications",
            params=params,
            timeout=wait + self._settings.request_timeout,
        )
        _check(answer, _POLLED)
        heard = self._stands(Standing(answer["boot_id"], True))
        fresh = self.inbox.fetched(answer["boot_id"], answer["notifications"])
        if fresh or heard:
            self._news()
        elif not self.inbox and wait and self._reactor.seconds() - began < SHORTEST_POLL:
            await self._bell.wait(self._reactor, SHORTEST_POLL)

    def _lost(self, problem: NfpError) -> None:
        self.problem = problem
        if self._stands(Standing(self.standing.boot_id, False)):
            _log.warn(
                "configurator {configurator} cannot be reached: {reason}",
                configurator=self.configurator.name,
                reason=problem.reason,
            )

    def _stands(self, standing: Standing) -> bool:
        """Note what is known now.

        :return: whether that is anything new.
        """
        if standing == self.standing:
            return False
        if standing.reachable:
            _log.info(
                "configurator {configurator} is reached, boot {boot_id}",
                configurator=self.configurator.name,
                boot_id=standing.boot_id,
            )
        self.standing = standing
        self._moved()
        return True

    async def close(self) -> None:
        """Poll no more, and close connections that are kept."""
        self._closed = True
        await self._requests.close()
        await self._polls.close()


class Configurators(Service):
    """All configurators by name, polled while the service runs.

    :ivar news: rings when there is something to tell a manager.
    :ivar moved: rings when the standing of one has changed.
    :param connect: makes a client to a configurator; for tests.
    """

    name = "configurators"

    def __init__(
        self,
        reactor: Any,
        settings: AgentSettings,
        connect: Callable[[ConfiguratorSettings, int], Client] | None = None,
    ) -> None:
        self._reactor = reactor
        self._in_flight = InFlight(_log)
        self._polls: list[Deferred[None]] = []
        self.news = Bell()
        self.moved = Bell()
        make = connect or (lambda one, size: dialled(reactor, settings, one, size))
        self._links = {
            one.name: Link(
                reactor,
                settings,
                one,
                make(one, settings.pool_size),
                make(one, 1),
                self.news.ring,
                self.moved.ring,
            )
            for one in settings.configurators
        }

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links.values())

    def get(self, name: str) -> Link:
        """The configurator called *name*.

        :raises NoSuchConfigurator: this agent has no way to one of that name.
        """
        try:
            return self._links[name]
        except KeyError:
            raise NoSuchConfigurator(f"this agent does not reach a configurator {name!r}") from None

    def startService(self) -> None:
        """Begin to poll."""
        Service.startService(self)
        self._polls = [
            self._in_flight.start(f"poll of {link.configurator.name}", link.run()) for link in self
        ]

    def stopService(self) -> Deferred[None]:
        """End the polls and close all connections."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        polls, self._polls = self._polls, []
        closing = [Deferred.fromCoroutine(link.close()) for link in self]
        for poll in polls:
            poll.cancel()
        for one in closing:
            await one


def dialled(reactor: Any, settings: AgentSettings, one: ConfiguratorSettings, size: int) -> JsonClient:
    """A client to a configurator: through its proxy's socket, its own TLS inside."""
    return JsonClient(reactor, way_to(settings, one), timeout=settings.request_timeout, pool_size=size)


def way_to(settings: AgentSettings, one: ConfiguratorSettings) -> Dial:
    """How *one* is reached."""
    server_name = settings.server_name.format(name=one.name)
    tls = client_options(server_name, settings.certificate, settings.ca)
    return over_unix(one.socket, server_name=server_name, tls=tls)


def _check(answer: object, schema: Mapping[str, object]) -> None:
    """Refuse an answer that is none, as no fault of the caller."""
    try:
        check(answer, schema, field="answer")
    except Invalid as problem:
        raise Permanent(f"the configurator's answer cannot be read: {problem}") from None
