"""A small configurator behind real TLS: an outbox as the wire's contract has it, and operations."""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort

from nfp.model.errors import Stale
from nfp.model.requests import check_body
from nfp.rest.bodies import read_json
from nfp.rest.errors import answer_json, install_errors, request_id_of
from nfp.rest.site import json_site
from nfp.rest.tls import check_peer, over_tls, server_options


class SmallConfigurator:
    """Listens on a TCP port of the loopback address."""

    app = Klein()
    install_errors(app)

    def __init__(self, reactor: Any, certificate: str, ca: str) -> None:
        self._reactor = reactor
        self._tls = server_options(certificate, ca)
        self._port: IListeningPort | None = None
        self.number = 0
        self.boot_id = "boot-1"
        self.outbox: dict[int, dict[str, object]] = {}
        self.last = 0
        self.taken: list[tuple[str, Any, str]] = []
        self.waiting: list[Deferred[None]] = []

    def listen(self, number: int = 0) -> int:
        site = json_site(self.app.resource(), self._reactor)
        self._port = self._reactor.listenTCP(number, over_tls(self._tls, site), interface="127.0.0.1")
        self.number = self._port.getHost().port
        return self.number

    async def stop(self) -> None:
        if self._port is not None:
            await self._port.stopListening()
            self._port = None

    def tell(self, kind: str) -> None:
        self.last += 1
        self.outbox[self.last] = {"sequence": self.last, "kind": kind, "info": {}, "notification": []}
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            if not one.called:
                one.callback(None)

    @app.route("/v1/nfp/notifications", methods=["GET"])
    async def notifications(self, request: Any) -> bytes:
        check_peer(request, ["agent.*"])
        args = {name.decode(): values[0].decode() for name, values in request.args.items()}
        mine = args.get("boot") == self.boot_id
        after = int(args.get("after", 0)) if mine else 0
        self.outbox = {number: one for number, one in self.outbox.items() if number > after}
        if mine and not self.outbox and float(args["wait"]):
            waiting: Deferred[None] = Deferred()
            self.waiting.append(waiting)
            waiting.addTimeout(float(args["wait"]), self._reactor, onTimeoutCancel=lambda *_: None)
            await waiting
        return answer_json(
            request,
            {"boot_id": self.boot_id, "notifications": list(self.outbox.values()), "next": self.last},
        )

    @app.route("/v1/nfp/<operation>", methods=["POST"])
    async def operation(self, request: Any, operation: str) -> bytes:
        check_peer(request, ["agent.*"])
        body = read_json(request)
        check_body(body)
        if body["info"]["context"]["order"][0] == 0:
            raise Stale("a later one was seen")
        self.taken.append((operation, body, request_id_of(request)))
        return answer_json(
            request, {"request_id": request_id_of(request), "boot_id": self.boot_id}, status=202
        )
