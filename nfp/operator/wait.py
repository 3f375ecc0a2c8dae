"""Waits until what was asked of the manager is so."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nfp.model.errors import NfpError, Transient, Unavailable
from nfp.model.states import ServiceStatus
from nfp.operator.manager import Manager, Service

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
GROWTH = 1.5

Progress = Callable[[float, str], None]
"""Told seconds since the beginning, and what is new."""


class NotSettled(NfpError):
    """The time is up and the service is neither as wanted nor in ERROR."""

    code = "NotSettled"


async def until_settled(
    manager: Manager, clock: IReactorTime, identity: str, timeout: float, progress: Progress
) -> Service | None:
    """Look at a service until it is ACTIVE, in ERROR, or gone.

    A manager that does not answer for a while is asked on.

    :param timeout: seconds.
    :return: the service as seen last; ``None`` when it is gone.
    :raises NotSettled: the time is up.
    """
    start = clock.seconds()
    pause, shown, last = FIRST_PAUSE, "", "it was never seen"
    while True:
        try:
            service = await manager.get(identity)
        except (Transient, Unavailable) as error:
            text, settled, service = f"waiting for the manager: {error}", False, None
        else:
            text = "gone" if service is None else describe(service)
            settled = service is None or service["status"] in (ServiceStatus.ACTIVE, ServiceStatus.ERROR)
        since = clock.seconds() - start
        if text != shown:
            shown = last = text
            progress(since, text)
        if settled:
            return service
        if since + pause > timeout:
            raise NotSettled(f"network service {identity} has not settled within {timeout:g} s: {last}")
        await deferLater(clock, pause)
        pause = min(pause * GROWTH, LONGEST_PAUSE)


def describe(service: Service) -> str:
    """A service's status with its description, on one line."""
    description = " ".join(str(service.get("status_description") or "").split())
    return f"{service['status']}{': ' if description else ''}{description}"
