"""From a blocking command to the reactor and back: it runs for one piece of work, once per process."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import implementer

from nfp.daemon import journal
from nfp.model.errors import NfpError
from nfp.operator.config import OperatorSettings
from nfp.operator.manager import Manager
from nfp.rpc.client import RpcClient
from nfp.rpc.connection import RpcConnection

T = TypeVar("T")
Work = Callable[[Manager, Any], Awaitable[T]]
"""Gets the manager and the clock."""

CONNECT_SECONDS = 5.0
GOODBYE_SECONDS = 3.0


class CommandFailed(Exception):
    """A command cannot do what it was asked; the text is all that the operator is shown."""


class Bridge(Protocol):
    """Runs a command's work."""

    def run(self, work: Work[T]) -> T:
        """Run *work* to its end.

        :raises CommandFailed: it failed.
        """
        ...


class RpcBridge:
    """Runs work with a connection to the broker.

    :param settings: where it is.
    :param timeout: seconds that a call may take.
    :param debug: whether the log goes to standard error.
    """

    def __init__(self, settings: OperatorSettings, timeout: float, debug: bool) -> None:
        self._settings = settings
        self._timeout = timeout
        self._debug = debug

    def run(self, work: Work[T]) -> T:
        """Run *work* to its end."""
        trouble = _Trouble()
        globalLogBeginner.beginLoggingTo(
            [trouble, *([journal.observer("nfp", sys.stderr)] if self._debug else [])],
            redirectStandardIO=False,
            discardBuffer=True,
        )
        request_id = f"req-{uuid4()}"
        ended: list[Callable[[], T]] = []

        async def main(reactor: Any) -> None:
            with journal.bind(request_id):
                try:
                    result = await self._connected(reactor, work, trouble)
                except Exception as error:  # noqa: BLE001 -- raised again below, outside the reactor
                    ended.append(_raiser(error))
                else:
                    ended.append(lambda: result)

        with suppress(SystemExit):  # which is how react returns
            react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
        if not ended:
            raise KeyboardInterrupt
        try:
            return ended[0]()
        except NfpError as error:
            raise CommandFailed(f"{error.code}: {error} (request {request_id})") from error

    async def _connected(self, reactor: Any, work: Work[T], trouble: _Trouble) -> T:
        connection = RpcConnection(reactor, self._settings.url, self._settings.rpc)
        client = RpcClient(connection)
        connection.startService()
        try:
            try:
                await client.when_ready().addTimeout(CONNECT_SECONDS, reactor)
            except defer.TimeoutError:
                raise CommandFailed(
                    trouble.last or f"the broker did not answer within {CONNECT_SECONDS:g} s"
                ) from None
            return await work(Manager(client, self._timeout), reactor)
        finally:
            with suppress(defer.TimeoutError):  # the process ends anyway
                await Deferred.fromCoroutine(client.close()).addTimeout(GOODBYE_SECONDS, reactor)
                await connection.stopService().addTimeout(GOODBYE_SECONDS, reactor)


@implementer(ILogObserver)
class _Trouble:
    """Remembers the last warning: why there is no connection is told only to the log."""

    def __init__(self) -> None:
        self.last: str | None = None

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level") in (LogLevel.warn, LogLevel.error):
            self.last = formatEvent(event)


def _raiser(error: Exception) -> Callable[[], Any]:
    def again() -> Any:
        raise error

    return again
