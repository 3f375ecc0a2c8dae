"""A manager that keeps services in memory and brings each one stage further at each look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from nfp.model.errors import Invalid, NotFound

STAGES = [
    ("PENDING_CREATE", "device is being created"),
    ("PENDING_CREATE", "device is being configured"),
    ("ACTIVE", ""),
]
UPDATE = [("PENDING_UPDATE", "device is being configured"), ("ACTIVE", "")]


class ManagerDouble:
    """Answers the manager's RPCs.

    :ivar calls: what was called, in order.
    :ivar script: what a new service goes through; the last stage stays.
    :ivar errors: raised by the next calls, before they do anything.
    """

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.ahead: dict[str, list[Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.script = list(STAGES)
        self.errors: list[Exception] = []

    async def call(self, topic: str, method: str, args: Mapping[str, object], *, timeout: float) -> object:
        """As :meth:`nfp.rpc.client.RpcClient.call`."""
        assert topic == "nfp-service-manager"
        return await self.answer(method, dict(args))

    async def answer(self, method: str, args: dict[str, Any]) -> object:
        """Serve one call."""
        self.calls.append((method, args))
        if self.errors:
            raise self.errors.pop(0)
        result: object = getattr(self, method)(**args)
        return result

    def methods(self) -> list[str]:
        """Names of the methods called."""
        return [method for method, _ in self.calls]

    def add(self, **attributes: Any) -> dict[str, Any]:
        """Have a service that is ACTIVE."""
        service = {
            "id": str(uuid4()),
            "name": "",
            "tenant_id": "t",
            "service_config": '{"firewall": {}}',
            "status": "ACTIVE",
            "status_description": None,
            "service_type": "FIREWALL",
            "created_at": 0.0,
            "network_service_instances": [],
            **attributes,
        }
        self.services[service["id"]] = service
        return service

    def _on(self, service: dict[str, Any]) -> None:
        stages = self.ahead.get(service["id"])
        if stages:
            stage = stages.pop(0)
            if stage is None:
                del self.services[service["id"]]
            else:
                service["status"], service["status_description"] = stage

    def create_network_service(self, network_service: dict[str, Any]) -> object:
        if "tenant_id" not in network_service:
            raise Invalid("is required", field="network_service.tenant_id")
        made = self.add(**network_service)
        self.ahead[made["id"]] = list(self.script)
        self._on(made)
        return dict(made)

    def update_network_service(self, network_service_id: str, network_service: dict[str, Any]) -> object:
        service = self.services.get(network_service_id)
        if service is None:
            raise NotFound(f"there is no network service {network_service_id}")
        service.update(network_service)
        self.ahead[network_service_id] = list(UPDATE)
        self._on(service)
        return dict(service)

    def delete_network_service(self, network_service_id: str) -> object:
        service = self.services.get(network_service_id)
        if service is not None:
            self.ahead[network_service_id] = [("PENDING_DELETE", ""), ("PENDING_DELETE", "unplugging"), None]
            self._on(service)
        return None

    def get_network_service(self, network_service_id: str) -> object:
        service = self.services.get(network_service_id)
        if service is None:
            return None
        self._on(service)
        return dict(service) if network_service_id in self.services else None

    def get_network_services(
        self, filters: Any, sort: Any = None, limit: int | None = None, marker: str | None = None
    ) -> object:
        found = [
            service
            for service in sorted(self.services.values(), key=lambda one: str(one["id"]))
            if all(service.get(k) in (v if isinstance(v, list) else [v]) for k, v in (filters or {}).items())
            and (marker is None or service["id"] > marker)
        ]
        return found[:limit]
