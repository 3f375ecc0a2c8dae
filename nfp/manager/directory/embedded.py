"""The directory of a deployment without Neutron: what requests and ``nfp lab`` have told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import sqlalchemy as sa
from zope.interface import implementer

from nfp.manager.interfaces import DirectoryPort, DirectorySubnet, INetworkDirectory
from nfp.manager.store.directory import DirectoryPortRow, DirectorySubnetRow
from nfp.manager.store.engine import Store
from nfp.model.errors import NotFound, Transient, Unavailable

T = TypeVar("T")


@implementer(INetworkDirectory)
class EmbeddedDirectory:
    """Looks up ids in the directory tables.

    :param store: where they are.
    """

    name = "embedded"

    def __init__(self, store: Store) -> None:
        self._store = store

    async def port(self, port_id: str) -> DirectoryPort:
        """The port with that id."""
        return await self._find(_port, "port", port_id)

    async def subnet(self, subnet_id: str) -> DirectorySubnet:
        """The subnet with that id."""
        return await self._find(_subnet, "subnet", subnet_id)

    async def group_members(self, group_id: str) -> Sequence[str]:
        """Groups are GBP's; here nobody tells of them."""
        raise NotFound(f"the embedded directory knows no group {group_id}")

    async def _find(self, look: Callable[[sa.Connection, str], T | None], kind: str, identity: str) -> T:
        try:
            found = await self._store.read(look, identity)
        except Unavailable as error:
            raise Transient(error.reason) from error
        if found is None:
            raise NotFound(f"the embedded directory knows no {kind} {identity}")
        return found


def _port(connection: sa.Connection, identity: str) -> DirectoryPort | None:
    table = DirectoryPortRow.__table__
    row = connection.execute(sa.select(table).where(table.c.id == identity)).one_or_none()
    if row is None:
        return None
    return DirectoryPort(row.id, row.network_id, row.mac_address, tuple(row.addresses), row.subnet_id)


def _subnet(connection: sa.Connection, identity: str) -> DirectorySubnet | None:
    table = DirectorySubnetRow.__table__
    row = connection.execute(sa.select(table).where(table.c.id == identity)).one_or_none()
    return None if row is None else DirectorySubnet(row.id, row.network_id, row.cidr, row.gateway_ip)
