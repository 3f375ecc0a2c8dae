"""Turns what became of a request into the notification that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from nfp.model.errors import NfpError, Stale, Transient, Unavailable, Waiting
from nfp.model.requests import (
    CREATE_HEALTHMONITOR,
    DELETE_HEALTHMONITOR,
    HEALTHMONITOR_CONFIG_NOTIFICATION,
    NSD_CONFIG_NOTIFICATION,
    result,
)
from nfp.model.states import Outcome

Request = Mapping[str, Any]

_log = Logger()

TRANSIENT = (Transient, Waiting, Unavailable)
"""Errors that another try may turn."""


def kind_of(operation: str) -> str:
    """The kind of notification that answers *operation*."""
    if operation in (CREATE_HEALTHMONITOR, DELETE_HEALTHMONITOR):
        return HEALTHMONITOR_CONFIG_NOTIFICATION
    return NSD_CONFIG_NOTIFICATION


def applied(operation: str, request: Request, digest: str | None) -> dict[str, object]:
    """Say that *request* is done.

    :param digest: what was read back from the device; ``None`` for a removal.
    """
    return result(kind_of(operation), request, outcome=Outcome.APPLIED, digest=digest)


def refused(operation: str, request: Request, error: NfpError) -> dict[str, object]:
    """Say that *request* is not done, and whether another try is worth it."""
    return result(
        kind_of(operation),
        request,
        outcome=Outcome.REFUSED,
        digest=None,
        reason=str(error),
        transient=isinstance(error, TRANSIENT),
    )


async def answer(operation: str, request: Request, work: Awaitable[str | None]) -> dict[str, object] | None:
    """Await *work* on a device and say what became of it.

    :param work: gives the digest read back.
    :return: the notification; ``None`` when the device has seen a higher order: whoever decided
        that one learns its result.
    """
    context = request["info"]["context"]
    try:
        digest = await work
    except Stale as error:
        _log.info(
            "dropped {operation} of device {nsd_id}: {reason}",
            operation=operation,
            nsd_id=context["nsd_id"],
            reason=str(error),
        )
        return None
    except NfpError as error:
        _log.warn(
            "{operation} of device {nsd_id} failed: {reason}",
            operation=operation,
            nsd_id=context["nsd_id"],
            reason=str(error),
        )
        return refused(operation, request, error)
    except CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 -- a driver may raise anything; the manager must learn it
        _log.failure("{operation} of device {nsd_id} failed", operation=operation, nsd_id=context["nsd_id"])
        return refused(operation, request, Transient(f"unexpected {type(error).__name__}: {error}"))
    return applied(operation, request, digest)
