"""The device's REST interface and the control socket's, in memory."""

from __future__ import annotations

import json
from typing import Any

from OpenSSL.crypto import X509
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from nfp.device.control import ControlApi
from nfp.device.server import DeviceApi
from nfp.model.errors import Conflict, Stale, Transient
from nfp.model.order import Order
from nfp.pki.authority import Authority, read_certificate
from nfp.rest.site import json_site


class Transport(StringTransport):
    """A connection whose other end has shown a certificate."""

    certificate: X509 | None = None
    aborted = False

    def getPeerCertificate(self) -> X509 | None:
        return self.certificate

    def abortConnection(self) -> None:
        self.aborted = True


class Asking:
    """Sends requests to an application and reads what it answers."""

    def __init__(self, app: Any, certificate: X509 | None = None) -> None:
        self._site = json_site(app.resource(), Clock())
        self._certificate = certificate

    def begin(self, method: str, path: str, body: object = None) -> tuple[Any, Transport]:
        transport = Transport()
        transport.certificate = self._certificate
        channel: Any = self._site.buildProtocol(None)
        channel.makeConnection(transport)
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        channel.dataReceived(head.encode() + data)
        return channel, transport

    def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        head, _, text = self.begin(method, path, body)[1].value().partition(b"\r\n\r\n")
        if b"chunked" in head:
            text = b"".join(text.split(b"\r\n")[1::2])
        return int(head.split()[1]), json.loads(text)


class Device:
    """Remembers what it was asked; answers what it was given."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[object, ...]]] = []
        self.answer: Any = {"digest": "d"}

    async def run(self, function: Any, *arguments: object) -> Any:
        self.asked.append((function.__name__, arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Deferred):
            return await self.answer
        return self.answer


class DeviceApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority = Authority.create(self.mktemp())
        self.device = Device()
        self.ask = self.asking("configurator.red")

    def asking(self, name: str | None) -> Asking:
        shown = None
        if name is not None:
            shown = X509.from_cryptography(read_certificate(self.authority.issue(name)))
        return Asking(DeviceApi(self.device.run, ["configurator.*"]).app, shown)

    def test_each_path_reaches_its_operation(self) -> None:
        tree = {"firewall": {}}
        for request, asked in (
            (("PUT", "/v1/device", {"order": [1, 2], "tree": tree}), ("configure", (Order(1, 2), tree))),
            (("GET", "/v1/device"), ("read", ())),
            (("DELETE", "/v1/device", {"order": [1, 2]}), ("clear", (Order(1, 2),))),
            (
                ("PUT", "/v1/services/a", {"order": [1, 2], "kind": "firewall", "tree": tree}),
                ("apply", ("a", Order(1, 2), "firewall", tree)),
            ),
            (("GET", "/v1/services/a"), ("service", ("a",))),
            (("DELETE", "/v1/services/a", {"order": [1, 2]}), ("remove", ("a", Order(1, 2)))),
        ):
            self.assertEqual(self.ask(*request), (200, {"digest": "d"}), str(request))
            self.assertEqual(self.device.asked.pop(), asked)

    def test_health_is_up_or_503_with_the_reason(self) -> None:
        self.device.answer = ""
        self.assertEqual(self.ask("GET", "/v1/health"), (200, {"status": "UP"}))
        self.assertEqual(self.device.asked.pop(), ("health", ("management",)))
        self.device.answer = "service a is drifted"
        found = self.ask("GET", "/v1/health?level=service")
        self.assertEqual(found, (503, {"status": "DOWN", "reason": "service a is drifted"}))
        self.assertEqual(self.device.asked.pop(), ("health", ("service",)))

    def test_nobody_but_the_clients_named_is_heard(self) -> None:
        for name in (None, "agent.host", "configurator"):
            ask = self.asking(name)
            for method, path in (("GET", "/v1/device"), ("PUT", "/v1/services/a"), ("GET", "/v1/health")):
                status, answer = ask(method, path, {"order": [1, 1]})
                self.assertEqual((status, answer["error"]["code"]), (403, "Forbidden"))
        self.assertEqual(self.device.asked, [])

    def test_errors_keep_their_codes(self) -> None:
        for error, status in ((Stale("late"), 409), (Transient("gone"), 503)):
            self.device.answer = error
            found, answer = self.ask("PUT", "/v1/device", {"order": [1, 1], "tree": {}})
            self.assertEqual((found, answer["error"]["code"]), (status, error.code))

    def test_a_bad_body_names_the_field_and_reaches_nobody(self) -> None:
        for body, field in (
            ({"order": [1, 1]}, "body.tree"),
            ({"order": [1, "x"], "tree": {}}, "body.order[1]"),
            ({"order": [1], "tree": {}}, "body.order"),
            ([], "body"),
        ):
            status, answer = self.ask("PUT", "/v1/device", body)
            self.assertEqual((status, answer["error"]["field"]), (400, field))
        status, answer = self.ask("GET", f"/v1/services/{'x' * 65}")
        self.assertEqual((status, answer["error"]["field"]), (400, "service_id"))
        self.assertEqual(self.device.asked, [])


class Serving:
    """A runtime that only remembers."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, object]] = {}
        self.error: Exception | None = None

    async def serve(self, nsd_id: str, namespace: str, address: str, port: int) -> None:
        if self.error is not None:
            raise self.error
        self.known[nsd_id] = {"namespace": namespace, "address": address, "port": port}

    async def forget(self, nsd_id: str) -> None:
        self.known.pop(nsd_id, None)

    def served(self) -> dict[str, dict[str, object]]:
        return self.known


class ControlApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()
        self.ask = Asking(ControlApi(self.serving).app)

    def test_a_namespace_is_announced_listed_and_forgotten(self) -> None:
        where = {"namespace": "ns", "address": "fd00::1", "port": 9444}
        for _ in range(2):
            self.assertEqual(self.ask("PUT", "/v1/namespaces/a", where), (200, {"listening": True}))
        self.assertEqual(self.ask("GET", "/v1/namespaces"), (200, {"namespaces": {"a": where}}))
        for _ in range(2):
            self.assertEqual(self.ask("DELETE", "/v1/namespaces/a"), (200, {"listening": False}))
        self.assertEqual(self.serving.known, {})

    def test_bad_input_names_the_field(self) -> None:
        good = {"namespace": "ns", "address": "fd00::1", "port": 9444}
        for name, value in (("address", "example.org"), ("port", 0), ("port", "9444"), ("namespace", "")):
            status, answer = self.ask("PUT", "/v1/namespaces/a", {**good, name: value})
            self.assertEqual((status, answer["error"]["field"]), (400, f"body.{name}"))

    def test_errors_keep_their_codes(self) -> None:
        good = {"namespace": "ns", "address": "fd00::1", "port": 9444}
        for error, status in ((Transient("not there"), 503), (Conflict("taken"), 409)):
            self.serving.error = error
            self.assertEqual(self.ask("PUT", "/v1/namespaces/a", good)[0], status)
