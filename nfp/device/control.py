"""The local control socket: who makes namespaces says here which are to be served.

PUT, DELETE ``/v1/namespaces/<nsd_id>`` and GET ``/v1/namespaces``; whoever may open the socket may ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Protocol

from klein import Klein
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from nfp.model.errors import Invalid
from nfp.model.schemas import check
from nfp.rest.bodies import read_json
from nfp.rest.errors import answer_json, install_errors
from nfp.rest.listening import UnixPath
from nfp.rest.site import json_site

_NAMESPACE: Mapping[str, object] = {
    "type": "object",
    "required": ["namespace", "address", "port"],
    "properties": {
        "namespace": {"type": "string", "minLength": 1, "maxLength": 64},
        "address": {"type": "string", "minLength": 2, "maxLength": 64},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    },
}


class Serving(Protocol):
    """What the control socket asks of the runtime."""

    async def serve(self, nsd_id: str, namespace: str, address: str, port: int) -> None:
        """Serve a device from now on; may be repeated."""

    async def forget(self, nsd_id: str) -> None:
        """Serve a device no more; not known is success."""

    def served(self) -> dict[str, dict[str, object]]:
        """Where each device is."""


class ControlApi:
    """The interface on the control socket."""

    app = Klein()

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    @app.route("/v1/namespaces", methods=["GET"])
    async def namespaces(self, request: IRequest) -> bytes:
        """Which devices are served, and where."""
        return answer_json(request, {"namespaces": self._serving.served()})

    @app.route("/v1/namespaces/<nsd_id>", methods=["PUT"])
    async def serve(self, request: IRequest, nsd_id: str) -> bytes:
        """Serve a device; answered when it listens."""
        body: Any = read_json(request)
        check(body, _NAMESPACE, "body")
        try:
            address = str(ip_address(body["address"]))
        except ValueError as error:
            raise Invalid(str(error), field="body.address") from None
        await self._serving.serve(nsd_id, body["namespace"], address, body["port"])
        return answer_json(request, {"listening": True})

    @app.route("/v1/namespaces/<nsd_id>", methods=["DELETE"])
    async def forget(self, request: IRequest, nsd_id: str) -> bytes:
        """Serve a device no more; answered when no socket of ours is left in its namespace."""
        await self._serving.forget(nsd_id)
        return answer_json(request, {"listening": False})


install_errors(ControlApi.app)


class ControlSocket(Service):
    """Listens on the control socket; a path that another process serves stops the start-up.

    :param path: of the UNIX socket, mode 0660.
    """

    name = "control socket"

    def __init__(self, reactor: Any, serving: Serving, path: str) -> None:
        self._reactor = reactor
        self._site = json_site(ControlApi(serving).app.resource(), reactor)
        self._path = UnixPath(path)

    def privilegedStartService(self) -> None:
        """Listen."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._path.listen(self._reactor, self._site)

    def stopService(self) -> Deferred[None]:
        """Listen no more."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._path.stop())
