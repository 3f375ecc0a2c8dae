"""Which manager hosts use the store, so that a driver for one machine refuses to work beside another."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from nfp.manager.store import rows
from nfp.manager.store.base import clock
from nfp.manager.store.engine import Store
from nfp.manager.store.tables import ManagerHost
from nfp.model.errors import Conflict, NfpError

_HOSTS: Any = ManagerHost.__table__

BEAT = 20.0
LIFE = 3 * BEAT


class Registration(Service):
    """Keeps this host's row alive while the manager runs.

    :param alone: whether no other host may use the store meanwhile.
    """

    _log = Logger()

    def __init__(self, reactor: Any, store: Store, host: str, alone: bool) -> None:
        self._store = store
        self._host = host
        self._alone = alone
        self._beat = LoopingCall(self._again)
        self._beat.clock = reactor

    async def register(self) -> None:
        """Enter this host, or refuse.

        :raises Conflict: another host is alive, and we have to be alone.
        """
        await self._store.write(_register, self._host, uuid.uuid4().hex, self._alone)
        _ = self._beat.start(BEAT, now=False)

    def stopService(self) -> Deferred[None]:
        """Leave."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._beat.running:
            self._beat.stop()
        return Deferred.fromCoroutine(self._leave())

    def _again(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._seen())

    async def _seen(self) -> None:
        try:
            await self._store.write(_seen, self._host)
        except NfpError as error:
            self._log.warn("the host's record is not renewed: {reason}", reason=str(error))

    async def _leave(self) -> None:
        try:
            await self._store.write(_leave, self._host)
        except NfpError as error:
            self._log.warn("the host's record stays: {reason}", reason=str(error))


def started_at(connection: sa.Connection, host: str) -> float:
    """When the manager of *host* was started, by the database's clock; 0 if it never was."""
    query = sa.select(_HOSTS.c.started_at).where(_HOSTS.c.host == host)
    return connection.execute(query).scalar() or 0.0


def _register(connection: sa.Connection, host: str, boot_id: str, alone: bool) -> None:
    others = sa.select(_HOSTS.c.host).where(_HOSTS.c.host != host, _HOSTS.c.seen_at > clock() - LIFE)
    found = list(connection.execute(others).scalars())
    if alone and found:
        raise Conflict(
            f"manager host {found[0]} uses this database too, and the lifecycle driver is for one host only"
        )
    values = {"boot_id": boot_id, "started_at": clock(), "seen_at": clock()}
    if rows.first(connection, sa.select(_HOSTS.c.host).where(_HOSTS.c.host == host)) is None:
        connection.execute(sa.insert(_HOSTS).values(host=host, **values))
    else:
        connection.execute(sa.update(_HOSTS).where(_HOSTS.c.host == host).values(**values))


def _seen(connection: sa.Connection, host: str) -> None:
    connection.execute(sa.update(_HOSTS).where(_HOSTS.c.host == host).values(seen_at=clock()))


def _leave(connection: sa.Connection, host: str) -> None:
    connection.execute(sa.delete(_HOSTS).where(_HOSTS.c.host == host))
