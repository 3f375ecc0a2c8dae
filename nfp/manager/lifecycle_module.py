"""The Life Cycle Management module: RPC of network services in, converged objects out."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from twisted.logger import Logger
from zope.interface import implementer

from nfp.manager import schemas
from nfp.manager.config import ManagerSettings
from nfp.manager.plumbing import plumbing_info
from nfp.manager.registers import Stamp
from nfp.manager.store import accept, news, queries
from nfp.manager.store.accept import Accepted, Message
from nfp.manager.workroom import Workroom
from nfp.model import requests
from nfp.process.interfaces import (
    Args,
    Event,
    EventHandler,
    IModule,
    IWorkerContext,
    KeyKind,
    RpcHandler,
)


def _by_service(args: Args) -> str:
    return f"service:{str(args['network_service_id']).lower()}"


def _by_chain_node(args: Args) -> str:
    """A create has no id yet, perhaps; the same chain node comes to the same worker all the same."""
    service: Any = args["network_service"]
    return f"node:{service.get('service_chain_id') or ''}/{service['service_id']}"


def _by_agent(args: Args) -> str:
    agent: Any = args["agent"]
    return f"agent:{agent['host']}"


def _refused(method: str) -> Any:
    def event(args: Args, reason: str, field: str | None) -> Event | None:
        text = reason if field is None else f"{field}: {reason}"
        return Event(None, f"refused_{method}", {"args": dict(args), "reason": text})

    return event


@implementer(IModule)
class LifeCycleModule:
    """Accepts what is wanted of network services, and converges them and their devices."""

    name = "lifecycle"
    _log = Logger()

    def __init__(self, settings: ManagerSettings) -> None:
        self._settings = settings
        self._room: Workroom | None = None

    def rpc_handlers(self) -> Mapping[str, RpcHandler]:
        """The blueprint's RPCs that concern whole services, and the agents' reports."""
        return {
            "create_network_service": RpcHandler(
                schemas.CREATE,
                "create_network_service",
                _by_chain_node,
                refused=_refused("create_network_service"),
            ),
            "update_network_service": RpcHandler(
                schemas.UPDATE,
                "update_network_service",
                _by_service,
                refused=_refused("update_network_service"),
            ),
            "delete_network_service": RpcHandler(schemas.BY_ID, "delete_network_service", _by_service),
            "get_network_service": RpcHandler(schemas.BY_ID, "get_network_service"),
            "get_network_services": RpcHandler(schemas.LIST, "get_network_services"),
            "get_plumbing_info": RpcHandler(schemas.PLUMBING, answer=plumbing_info),
            "report_agent": RpcHandler(schemas.REPORT_AGENT, "report_agent", _by_agent),
        }

    def event_handlers(self) -> Mapping[str, EventHandler]:
        """What workers do with requests and with the configurator's notifications."""
        return {
            "create_network_service": self._create,
            "update_network_service": self._update,
            "delete_network_service": self._delete,
            "refused_create_network_service": self._refused_create,
            "refused_update_network_service": self._refused_update,
            "get_network_service": self._get,
            "get_network_services": self._list,
            "report_agent": self._report_agent,
            requests.NSD_CONFIG_NOTIFICATION: self._config_result,
            requests.HEALTHMONITOR_CONFIG_NOTIFICATION: self._monitor_result,
            requests.HEALTH_STATUS_NOTIFICATION: self._health_status,
        }

    def key_kinds(self) -> Mapping[str, KeyKind]:
        """Services and devices converge; agents are polled; the sweep finds what is unsettled."""
        room = self._at_work
        return {
            "service": KeyKind(room.services.run),
            "device": KeyKind(room.devices.run),
            "agent": KeyKind(room.poller.run, suspect=False),
            "sweep": KeyKind(room.sweep, suspect=False),
        }

    async def start(self, context: IWorkerContext) -> None:
        """Open the store and the broker connection, and load the driver."""
        self._room = Workroom(self._settings, context)
        await self._room.open()

    async def stop(self) -> None:
        """Let them go."""
        if self._room is not None:
            await self._room.close()

    @property
    def _at_work(self) -> Workroom:
        assert self._room is not None, "a worker starts its modules before it uses them"
        return self._room

    async def _create(self, event: Event) -> object:
        message = self._message(event)
        service: Any = event.payload["args"]
        wanted = service["network_service"]
        accepted = await self._accept(wanted["service_id"], accept.create, wanted, message)
        return await self._answer(accepted, message)

    async def _update(self, event: Event) -> object:
        message = self._message(event)
        args: Any = event.payload["args"]
        service_id = args["network_service_id"]
        accepted = await self._accept(service_id, accept.update, service_id, args["network_service"], message)
        return await self._answer(accepted, message)

    async def _delete(self, event: Event) -> object:
        message = self._message(event)
        args: Any = event.payload["args"]
        service_id = args["network_service_id"]
        accepted = await self._accept(service_id, accept.delete, service_id, message)
        return await self._answer(accepted, message)

    async def _refused_create(self, event: Event) -> object:
        args: Any = event.payload["args"]
        service = args.get("network_service")
        if not isinstance(service, dict):
            return None
        message = self._message(event)
        reason: Any = event.payload["reason"]
        accepted = await self._accept("", accept.refuse_create, service, reason, message)
        return await self._answer(accepted, message)

    async def _refused_update(self, event: Event) -> object:
        args: Any = event.payload["args"]
        service_id = args.get("network_service_id")
        if not isinstance(service_id, str):
            return None
        message = self._message(event)
        reason: Any = event.payload["reason"]
        accepted = await self._accept(service_id, accept.refuse_update, service_id, reason, message)
        return await self._answer(accepted, message)

    async def _accept(self, sort_key: str, function: Callable[..., Accepted], *args: object) -> Accepted:
        sort_key = f"service:{sort_key}"  # after the devices, as everywhere
        try:
            return await self._at_work.group.write(sort_key, function, *args)
        except sa.exc.IntegrityError:
            # Another host took the same chain node, or the same message, meanwhile: now it is found.
            return await self._at_work.group.write(sort_key, function, *args)

    async def _answer(self, accepted: Accepted, message: Message) -> object:
        """Wake what changed; a call gets the service as it is now, or the error."""
        if accepted.wake and accepted.service_id is not None:
            self._at_work.context.wake(f"service:{accepted.service_id}")
        if accepted.error is not None:
            if message.is_call:
                raise accepted.error
            self._log.warn("refused: {reason}", reason=str(accepted.error))
            return None
        if not message.is_call or accepted.service_id is None:
            return None
        return await self._at_work.group.look_up(queries.get_each, accepted.service_id)

    async def _get(self, event: Event) -> object:
        args: Any = event.payload["args"]
        return await self._at_work.group.look_up(queries.get_each, args["network_service_id"])

    async def _list(self, event: Event) -> object:
        args: Any = event.payload["args"]
        return await self._at_work.store.read(
            queries.page,
            args.get("filters"),
            args.get("fields"),
            args.get("sort"),
            args.get("limit"),
            args.get("marker"),
        )

    async def _report_agent(self, event: Event) -> object:
        args: Any = event.payload["args"]
        agent = args["agent"]
        wake = await self._at_work.store.write(
            news.agent_report, agent["host"], agent["boot_id"], agent["configurators"]
        )
        self._wake([*wake, f"agent:{agent['host']}"])
        return None

    async def _config_result(self, event: Event) -> object:
        item, data = _unpacked(event)
        now = self._at_work.context.reactor.seconds()
        return await self._news(event, news.config_result, item["info"], data, now, self._at_work.random)

    async def _monitor_result(self, event: Event) -> object:
        item, data = _unpacked(event)
        now = self._at_work.context.reactor.seconds()
        return await self._news(event, news.monitor_result, item["info"], data, now, self._at_work.random)

    async def _health_status(self, event: Event) -> object:
        item, data = _unpacked(event)
        return await self._news(event, news.health_status, data, event.payload["boot_id"], item["sequence"])

    async def _news(self, event: Event, store: Any, *args: object) -> object:
        """Store news; what cannot be read counts as stored, with a line in the journal."""
        try:
            self._wake(await self._at_work.group.write(event.key or "", store, *args))
        except (LookupError, TypeError, ValueError, sa.exc.DataError):
            self._log.failure("a notification cannot be read")
        return None

    def _wake(self, keys: list[str]) -> None:
        for key in keys:
            self._at_work.context.wake(key)

    def _message(self, event: Event) -> Message:
        envelope: Any = event.payload.get("envelope") or {}
        arrived = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
        unique_id = str(envelope.get("unique_id") or random.randbytes(16).hex())[:64]  # noqa: S311
        return Message(
            unique_id=unique_id,
            stamp=Stamp.of(envelope.get("timestamp") or arrived, unique_id),
            is_call=bool(envelope.get("is_call")),
            vendors=self._settings.vendors,
        )


def _unpacked(event: Event) -> tuple[Any, Any]:
    item: Any = event.payload["notification"]
    return item, item["notification"][0]["data"]
