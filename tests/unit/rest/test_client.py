"""The JSON client against applications in memory."""

from __future__ import annotations

from typing import Any

from klein import Klein
from treq.testing import StubTreq
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from nfp.daemon.journal import bind
from nfp.model.errors import Invalid, NfpError, Permanent, Stale, Transient, Unavailable
from nfp.rest.bodies import read_json
from nfp.rest.client import JsonClient
from nfp.rest.dial import over_unix
from nfp.rest.errors import TooLarge, answer_json, install_errors


class Application:
    app = Klein()
    install_errors(app)

    def __init__(self, raises: NfpError | None = None) -> None:
        self.raises = raises
        self.seen: list[Any] = []

    @app.route("/thing", methods=["GET", "PUT"])
    async def thing(self, request: Any) -> bytes:
        self.seen.append((request.args, request.getHeader("X-Request-ID"), request.getHeader("Host")))
        if self.raises is not None:
            raise self.raises
        return answer_json(request, read_json(request) if request.method == b"PUT" else None, status=202)

    @app.route("/foreign/<int:status>")
    async def foreign(self, request: Any, status: int) -> bytes:
        request.setResponseCode(status)
        request.setHeader("Content-Type", "text/html")
        return b"<html>"

    @app.route("/empty")
    async def empty(self, request: Any) -> bytes:
        request.setResponseCode(204)
        return b""


class Silent:
    """An HTTP client whose requests never end by themselves."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[Deferred[Any]] = []
        self._failure = failure

    def request(self, method: str, url: str, **more: Any) -> Deferred[Any]:
        one: Deferred[Any] = Deferred()
        self.asked.append(one)
        if self._failure is not None:
            one.errback(self._failure)
        return one


class ClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def client(self, http: Any, **more: Any) -> JsonClient:
        return JsonClient(self.clock, over_unix("/s", server_name="srv"), http=http, **more)

    def ask(self, http: Any, *args: Any, **more: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.client(http).request(*args, **more))

    def test_json_goes_and_comes(self) -> None:
        application = Application()
        asked = self.ask(StubTreq(application.app.resource()), "PUT", "/thing", {"ä": 1}, params={"after": 3})
        self.assertEqual(self.successResultOf(asked), (202, {"ä": 1}))
        self.assertEqual(application.seen, [({b"after": [b"3"]}, application.seen[0][1], "srv")])

    def test_the_running_request_is_named_to_the_server(self) -> None:
        application = Application()
        with bind("req-5"):
            self.successResultOf(self.ask(StubTreq(application.app.resource()), "GET", "/thing"))
        self.assertEqual(application.seen[0][1], "req-5")

    def test_errors_come_back_as_what_they_were(self) -> None:
        for told in (Invalid("w", field="a.b"), Stale("w"), Unavailable("w"), Permanent("w"), TooLarge("w")):
            asked = self.ask(StubTreq(Application(told).app.resource()), "GET", "/thing")
            found = self.failureResultOf(asked).value
            self.assertEqual((type(found), found.reason, found.field), (type(told), "w", told.field))

    def test_a_status_that_is_expected_is_an_answer(self) -> None:
        http = StubTreq(Application(Unavailable("w")).app.resource())
        status, body = self.successResultOf(self.ask(http, "GET", "/thing", accept=(503,)))
        self.assertEqual((status, body["error"]["message"]), (503, "w"))

    def test_foreign_answers_are_judged_by_their_status(self) -> None:
        http = StubTreq(Application().app.resource())
        for status, kind in ((502, Transient), (429, Transient), (400, Permanent), (200, Permanent)):
            self.failureResultOf(self.ask(http, "GET", f"/foreign/{status}"), kind)

    def test_an_empty_answer_is_none(self) -> None:
        http = StubTreq(Application().app.resource())
        self.assertEqual(self.successResultOf(self.ask(http, "GET", "/empty")), (204, None))

    def test_a_server_that_is_not_reached_is_transient_and_the_reason_told(self) -> None:
        wrapped = ResponseNeverReceived([Failure(error.ConnectionRefusedError())])
        for problem in (error.ConnectionRefusedError(), wrapped):
            failed = self.failureResultOf(self.ask(Silent(problem), "GET", "/thing"), Transient)
            self.assertIn("ConnectionRefusedError", str(failed.value))

    def test_an_answer_that_takes_too_long_is_transient(self) -> None:
        asked = self.ask(Silent(), "GET", "/thing", timeout=3)
        self.clock.advance(2.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.assertIn("within 3 s", str(self.failureResultOf(asked, Transient).value))

    def test_giving_up_is_no_error_of_the_server(self) -> None:
        class Aborts(Silent):
            def request(self, method: str, url: str, **more: Any) -> Deferred[Any]:
                reasons = [Failure(CancelledError()), Failure(error.ConnectionRefusedError())]
                return Deferred(lambda one: one.errback(ResponseNeverReceived(reasons)))

        for http in (Silent(), Aborts()):
            asked = self.ask(http, "GET", "/thing")
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_more_requests_at_once_than_allowed_and_waiting_has_a_deadline_too(self) -> None:
        http = Silent()
        client = self.client(http, max_requests=1)
        first = Deferred.fromCoroutine(client.request("GET", "/thing", timeout=10))
        second = Deferred.fromCoroutine(client.request("GET", "/thing", timeout=5))
        third = Deferred.fromCoroutine(client.request("GET", "/thing", timeout=20))
        self.assertEqual(len(http.asked), 1)
        self.clock.advance(5)
        self.failureResultOf(second, Transient)
        self.clock.advance(5)
        self.failureResultOf(first, Transient)
        self.assertEqual(len(http.asked), 2)
        self.assertNoResult(third)
        third.addErrback(lambda _: None)
        third.cancel()
