"""The manager, as the operator's tools call it (``contract.md`` section 3)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from nfp.model.errors import Conflict, NotFound

TOPIC = "nfp-service-manager"
PAGE = 500

Service = dict[str, Any]

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Caller(Protocol):
    """What calls: :class:`nfp.rpc.client.RpcClient`."""

    def call(
        self, topic: str, method: str, args: Mapping[str, object], *, timeout: float
    ) -> Awaitable[object]:
        """Call a method and give its result."""
        ...


class Manager:
    """Calls the manager.

    :param client: speaks RPC.
    :param timeout: seconds that any call may take.
    """

    def __init__(self, client: Caller, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    async def get(self, identity: str) -> Service | None:
        """The service with that id; ``None`` when there is none."""
        found: Service | None = await self._call("get_network_service", network_service_id=identity)
        return found

    async def find(self, name_or_id: str) -> Service:
        """The service with that id, or the only one with that name.

        :raises nfp.model.errors.NotFound: there is none.
        :raises nfp.model.errors.Conflict: several have that name.
        """
        if _UUID.fullmatch(name_or_id):
            by_id = await self.get(name_or_id)
            if by_id is not None:
                return by_id
        named = await self.page({"name": name_or_id}, limit=10)
        if not named:
            raise NotFound(f"there is no network service {name_or_id}")
        if len(named) > 1:
            ids = ", ".join(str(service["id"]) for service in named)
            raise Conflict(f"several network services are called {name_or_id}: {ids}")
        return named[0]

    async def page(
        self,
        filters: Mapping[str, object],
        sort: Sequence[str] = (),
        limit: int | None = None,
        marker: str | None = None,
    ) -> list[Service]:
        """One page of services.

        :param filters: attribute → value, or a list of values of which one must match.
        :param sort: attributes, ``-`` before one for descending.
        :param marker: the last id of the page before.
        """
        found: Any = await self._call(
            "get_network_services",
            filters=dict(filters),
            sort=list(sort) or None,
            limit=limit,
            marker=marker,
        )
        return list(found)

    async def every(self, filters: Mapping[str, object], sort: Sequence[str] = ()) -> list[Service]:
        """All services, page by page."""
        found: list[Service] = []
        while True:
            page = await self.page(filters, sort, PAGE, found[-1]["id"] if found else None)
            found.extend(page)
            if len(page) < PAGE:
                return found

    async def create(self, service: Mapping[str, object]) -> Service:
        """Ask for a service."""
        made: Service = await self._call("create_network_service", network_service=dict(service))
        return made

    async def update(self, identity: str, changes: Mapping[str, object]) -> Service:
        """Ask for other values of some attributes."""
        changed: Service = await self._call(
            "update_network_service", network_service_id=identity, network_service=dict(changes)
        )
        return changed

    async def delete(self, identity: str) -> None:
        """Ask that the service go; gone already is success."""
        await self._call("delete_network_service", network_service_id=identity)

    async def _call(self, method: str, **args: object) -> Any:
        told = {name: value for name, value in args.items() if value is not None}
        return await self._client.call(TOPIC, method, told, timeout=self._timeout)
