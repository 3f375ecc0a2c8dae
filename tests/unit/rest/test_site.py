"""The site drops what is too long instead of storing it."""

from __future__ import annotations

import json
from io import SEEK_END
from typing import Any

from klein import Klein
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from nfp.rest.bodies import read_json
from nfp.rest.errors import answer_json, install_errors
from nfp.rest.site import PATIENCE, LimitedRequest, json_site

LIMIT = 1000


class Application:
    app = Klein()
    install_errors(app)

    @app.route("/", methods=["POST"])
    async def root(self, request: Any) -> bytes:
        return answer_json(request, len(json.dumps(read_json(request, limit=LIMIT))))


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        site = json_site(Application().app.resource(), self.clock, max_body=LIMIT, idle=60)
        self.requests: list[LimitedRequest] = []

        def make(*args: Any) -> LimitedRequest:
            self.requests.append(LimitedRequest(*args))
            return self.requests[-1]

        site.requestFactory = make
        address = IPv4Address("TCP", "127.0.0.1", 1)
        self.channel = site.buildProtocol(address)
        self.transport = StringTransport(hostAddress=address, peerAddress=address)
        self.transport.abortConnection = self.transport.loseConnection  # type: ignore[attr-defined]
        self.channel.makeConnection(self.transport)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.channel.dataReceived(piece)

    def head(self, *headers: str) -> bytes:
        lines = ["POST / HTTP/1.1", "Host: x", "Content-Type: application/json", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def stored(self) -> int:
        return self.requests[0].content.seek(0, SEEK_END)

    def answer(self) -> tuple[int, Any]:
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        if b"chunked" in head:
            body = body.split(b"\r\n")[1]
        return int(head.split()[1]), json.loads(body)

    def test_a_body_within_the_limit_is_answered(self) -> None:
        self.send(self.head("Content-Length: 1000"), b'"' + b"x" * 998 + b'"')
        self.assertEqual(self.answer(), (200, 1000))
        self.assertFalse(self.transport.disconnecting)

    def test_a_body_declared_too_long_is_never_stored(self) -> None:
        self.send(self.head("Content-Length: 1001"), b"x" * 900)
        self.assertEqual(self.stored(), 0)
        self.send(b"x" * 101)
        code, body = self.answer()
        self.assertEqual((code, body["error"]["code"]), (413, "TooLarge"))
        self.transport.clear()
        self.send(self.head("Content-Length: 3"), b'"x"')
        self.assertEqual(self.answer(), (200, 3))

    def test_a_body_of_undeclared_length_is_dropped_when_it_passes_the_limit(self) -> None:
        self.send(self.head("Transfer-Encoding: chunked"), b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        self.assertEqual(self.stored(), 1000)
        self.send(b"1\r\nx\r\n")
        self.assertEqual(self.stored(), 0)
        self.send(b"0\r\n\r\n")
        self.assertEqual(self.answer()[0], 413)

    def test_patience_with_a_body_without_end_ends(self) -> None:
        self.send(self.head("Content-Length: 1000000000"))
        for _ in range(PATIENCE):
            self.send(b"x" * LIMIT)
        self.assertFalse(self.transport.disconnecting)
        self.send(b"x")
        self.assertTrue(self.transport.disconnecting)

    def test_the_next_request_on_the_connection_is_measured_afresh(self) -> None:
        for _ in range(3):
            self.transport.clear()
            self.send(self.head("Content-Length: 600"), b'"' + b"x" * 598 + b'"')
            self.assertEqual(self.answer(), (200, 600))

    def test_a_connection_that_says_nothing_is_closed(self) -> None:
        self.clock.advance(61)
        self.assertTrue(self.transport.disconnecting)
