"""The agent's RPC: the blueprint's six operations, and the way back.

Kept apart from the broker: :meth:`AgentRpc.dispatch` takes a request and gives a result, whoever calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nfp.agent.collecting import Acknowledged, Collector
from nfp.agent.configurators import Configurators
from nfp.daemon.journal import bind
from nfp.model.requests import BODY, OPERATIONS
from nfp.model.schemas import Schema, check
from nfp.rpc.envelope import Request
from nfp.rpc.errors import NoSuchMethod

TOPIC = "nfp-configurator-agent"
GET_NOTIFICATIONS = "get_notifications"
LONGEST_WAIT = 60

OPERATION_ARGS: Schema = {
    "type": "object",
    "required": ["configurator", "request"],
    "properties": {"configurator": {"type": "string", "minLength": 1, "maxLength": 64}, "request": BODY},
    "additionalProperties": False,
}
"""Arguments of each of the six operations."""

GET_NOTIFICATIONS_ARGS: Schema = {
    "type": "object",
    "properties": {
        "acknowledge": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["boot_id", "sequence"],
                "properties": {
                    "boot_id": {"type": "string", "minLength": 1, "maxLength": 128},
                    "sequence": {"type": "integer", "minimum": 0},
                },
            },
        },
        "wait": {
            "type": "number",
            "minimum": 0,
            "maximum": LONGEST_WAIT,
            "description": f"seconds, 0 to {LONGEST_WAIT}",
        },
    },
    "additionalProperties": False,
}
"""Arguments of ``get_notifications``; both may be absent."""

Args = Mapping[str, Any]


class AgentRpc:
    """What the agent does for managers."""

    def __init__(self, configurators: Configurators, collector: Collector) -> None:
        self._configurators = configurators
        self._collector = collector

    async def dispatch(self, request: Request) -> object:
        """Do what *request* asks.

        :return: the configurator's ``{"request_id", "boot_id"}``, or the notifications.
        :raises nfp.model.errors.Invalid: bad arguments, found here or by the configurator.
        :raises nfp.model.errors.NoSuchConfigurator: this agent has no way to it.
        :raises nfp.model.errors.Transient: it was not reached.
        :raises nfp.model.errors.NfpError: whatever else it answered (Stale, Unavailable, …).
        :raises NoSuchMethod: it is none of ours.
        """
        with bind(request.request_id):
            return await self._method(request.method)(request.args)

    def _method(self, name: str) -> Callable[[Args], Awaitable[object]]:
        if name in OPERATIONS:
            return lambda args: self._operation(name, args)
        if name == GET_NOTIFICATIONS:
            return self._get_notifications
        raise NoSuchMethod(name)

    async def _operation(self, operation: str, args: Args) -> object:
        check(args, OPERATION_ARGS)
        return await self._configurators.get(args["configurator"]).post(operation, args["request"])

    async def _get_notifications(self, args: Args) -> object:
        check(args, GET_NOTIFICATIONS_ARGS)
        stored = {
            name: Acknowledged(one["boot_id"], one["sequence"])
            for name, one in args.get("acknowledge", {}).items()
        }
        return await self._collector.get_notifications(stored, args.get("wait", 0))
