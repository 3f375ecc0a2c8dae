"""A device's REST interface, as the configurator sees it.

======  =====================  ==========================================================
method  path                   answer
======  =====================  ==========================================================
PUT     /v1/device             ``{"digest"}`` read back; body ``{"order", "tree"}``
GET     /v1/device             ``{"digest", "tree", "state", "reason", "order", "services"}``
DELETE  /v1/device             ``{"digest": null}``; body ``{"order"}``
PUT     /v1/services/<id>      ``{"digest"}`` read back; body ``{"order", "kind", "tree"}``
GET     /v1/services/<id>      ``{"digest", "kind", "tree", "state", "counters"}``
DELETE  /v1/services/<id>      ``{"digest": null}``; body ``{"order"}``
GET     /v1/health?level=L     ``{"status": "UP"}``, or 503 ``{"status": "DOWN", "reason"}``
======  =====================  ==========================================================

An order below the highest seen is answered 409 ``Stale``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from klein import Klein
from twisted.web.iweb import IRequest

from nfp.device.served import MANAGEMENT_LEVEL, ServedDevice
from nfp.model.errors import Invalid
from nfp.model.order import Order
from nfp.model.schemas import check
from nfp.rest.bodies import read_json
from nfp.rest.errors import answer_json, install_errors
from nfp.rest.tls import check_peer

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a request; 10,000 firewall rules fit."""

_ORDER = {
    "type": "array",
    "prefixItems": [{"type": "integer"}, {"type": "integer"}],
    "minItems": 2,
    "maxItems": 2,
    "description": "[fence, revision], two integers",
}
_DEVICE = {
    "type": "object",
    "required": ["order", "tree"],
    "properties": {"order": _ORDER, "tree": {"type": "object"}},
}
_SERVICE = {
    "type": "object",
    "required": ["order", "kind", "tree"],
    "properties": {"order": _ORDER, "kind": {"type": "string"}, "tree": {"type": "object"}},
}
_REMOVAL = {"type": "object", "required": ["order"], "properties": {"order": _ORDER}}
_ID_LIMIT = 64

Run = Callable[..., Awaitable[Any]]
Handler = Callable[..., Awaitable[object]]


def _answer(handler: Handler) -> Any:  # klein has its own idea of a handler's type
    """Check who asks before anything else, and answer with the handler's value as JSON."""

    @wraps(handler)
    async def checked(api: DeviceApi, request: IRequest, **path: str) -> bytes:
        check_peer(request, api.clients)
        value = await handler(api, request, **path)
        if isinstance(value, Mapping) and value.get("status") == "DOWN":
            return answer_json(request, value, 503)
        return answer_json(request, value)

    return checked


class DeviceApi:
    """The interface of one device.

    :param run: runs a method of :class:`~nfp.device.served.ServedDevice` on the device, one at a
        time and in order.
    :param clients: fnmatch patterns of the names that may ask.
    """

    app = Klein()

    def __init__(self, run: Run, clients: Sequence[str]) -> None:
        self._run = run
        self.clients = clients

    @app.route("/v1/device", methods=["PUT"])
    @_answer
    async def configure(self, request: IRequest) -> object:
        """Make interfaces and routes equal to a tree."""
        body = _body(request, _DEVICE)
        return await self._run(ServedDevice.configure, Order.of(body["order"]), body["tree"])

    @app.route("/v1/device", methods=["GET"])
    @_answer
    async def read(self, request: IRequest) -> object:
        """What the device runs."""
        return await self._run(ServedDevice.read)

    @app.route("/v1/device", methods=["DELETE"])
    @_answer
    async def clear(self, request: IRequest) -> object:
        """Take interfaces' addresses and routes away."""
        return await self._run(ServedDevice.clear, Order.of(_body(request, _REMOVAL)["order"]))

    @app.route("/v1/services/<service_id>", methods=["PUT"])
    @_answer
    async def apply(self, request: IRequest, service_id: str) -> object:
        """Make a service equal to a tree."""
        body = _body(request, _SERVICE)
        order = Order.of(body["order"])
        return await self._run(ServedDevice.apply, _id(service_id), order, body["kind"], body["tree"])

    @app.route("/v1/services/<service_id>", methods=["GET"])
    @_answer
    async def service(self, request: IRequest, service_id: str) -> object:
        """What a service runs, with counters."""
        return await self._run(ServedDevice.service, _id(service_id))

    @app.route("/v1/services/<service_id>", methods=["DELETE"])
    @_answer
    async def remove(self, request: IRequest, service_id: str) -> object:
        """Take a service away."""
        order = Order.of(_body(request, _REMOVAL)["order"])
        return await self._run(ServedDevice.remove, _id(service_id), order)

    @app.route("/v1/health", methods=["GET"])
    @_answer
    async def health(self, request: IRequest) -> object:
        """Whether the device is well."""
        level = (request.args.get(b"level") or [MANAGEMENT_LEVEL.encode()])[0].decode("utf-8", "replace")
        reason = await self._run(ServedDevice.health, level)
        return {"status": "DOWN", "reason": reason} if reason else {"status": "UP"}


install_errors(DeviceApi.app)


def _body(request: IRequest, schema: Mapping[str, object]) -> Mapping[str, Any]:
    body: Mapping[str, Any] = read_json(request, limit=MAX_BODY)
    check(body, schema, "body")
    return body


def _id(service_id: str) -> str:
    if len(service_id) > _ID_LIMIT or not service_id.isprintable():
        raise Invalid(f"expected at most {_ID_LIMIT} printable characters", field="service_id")
    return service_id
