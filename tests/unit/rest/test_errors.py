"""Errors over HTTP, through a whole Klein application in memory."""

from __future__ import annotations

from typing import Any

from klein import Klein
from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon.journal import request_id
from nfp.model import errors as model
from nfp.rest.bodies import read_json
from nfp.rest.errors import STATUS, answer_json, install_errors, status_of


class Application:
    app = Klein()
    install_errors(app)

    def __init__(self, raises: Exception | None = None) -> None:
        self.raises = raises

    @app.route("/thing", methods=["GET", "PUT"])
    async def thing(self, request: Any) -> bytes:
        if self.raises is not None:
            raise self.raises
        return answer_json(request, {"request_id": request_id.get(), "text": "é"}, status=202)

    @app.route("/body", methods=["POST"])
    async def body(self, request: Any) -> bytes:
        return answer_json(request, read_json(request, limit=100, depth=3))


def declared_first() -> Klein:
    app = Klein()

    @app.route("/thing")
    async def thing(request: Any) -> bytes:
        return answer_json(request, {"request_id": request_id.get()})

    install_errors(app)
    return app


class HttpCase(SynchronousTestCase):
    def ask(self, app: Klein, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        treq = StubTreq(app.resource())
        response = self.successResultOf(treq.request(method, f"http://x{path}", **more))
        body = self.successResultOf(treq.json_content(response))
        return response.code, response.headers, body


class ErrorTests(HttpCase):
    def test_each_error_has_its_status(self) -> None:
        told = {
            model.Invalid: 400,
            model.NotFound: 404,
            model.Conflict: 409,
            model.Stale: 409,
            model.Unavailable: 503,
            model.NoSuchConfigurator: 404,
            model.Permanent: 422,
            model.Transient: 503,
            model.Waiting: 503,
            model.NfpError: 500,
        }
        for kind, status in told.items():
            code, headers, body = self.ask(Application(kind("why", field="a.b")).app, "GET", "/thing")
            self.assertEqual(code, status, kind)
            self.assertEqual(body["error"], {"code": kind.code, "message": "why", "field": "a.b"})
            self.assertEqual(body["request_id"], headers.getRawHeaders("X-Request-ID")[0])
            self.assertEqual(headers.hasHeader("Retry-After"), status == 503)

    def test_every_error_of_the_family_has_a_status_of_its_own_or_its_parents(self) -> None:
        def family(kind: type[model.NfpError]) -> list[type[model.NfpError]]:
            return [kind, *(one for child in kind.__subclasses__() for one in family(child))]

        ours = [kind for kind in family(model.NfpError) if kind.__module__ == "nfp.model.errors"]
        for kind in ours:
            if kind is not model.NfpError:
                self.assertLess(status_of(kind("x")), 504)
                self.assertNotEqual(status_of(kind("x")), 500, kind)
        self.assertNotIn(model.NfpError, STATUS)

    def test_what_was_not_expected_shows_nothing_and_is_logged(self) -> None:
        code, _, body = self.ask(Application(KeyError("secret-detail")).app, "GET", "/thing")
        self.assertEqual((code, body["error"]["code"]), (500, "Error"))
        self.assertNotIn("secret-detail", str(body))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_path_that_is_not_there(self) -> None:
        code, _, body = self.ask(Application().app, "GET", "/nothing")
        self.assertEqual((code, body["error"]["code"]), (404, "NotFound"))

    def test_a_method_that_is_not_there_names_those_that_are(self) -> None:
        code, headers, body = self.ask(Application().app, "DELETE", "/thing")
        self.assertEqual((code, body["error"]["code"]), (405, "MethodNotAllowed"))
        self.assertEqual(headers.getRawHeaders("Allow"), ["GET, HEAD, PUT"])


class RequestIdTests(HttpCase):
    def test_the_callers_id_is_known_inside_and_comes_back(self) -> None:
        for app in (Application().app, declared_first()):
            _, headers, body = self.ask(app, "GET", "/thing", headers={"X-Request-ID": "req-7"})
            self.assertEqual(body["request_id"], "req-7")
            self.assertEqual(headers.getRawHeaders("X-Request-ID"), ["req-7"])

    def test_without_one_a_new_one_is_made(self) -> None:
        _, headers, body = self.ask(Application().app, "GET", "/thing")
        self.assertTrue(body["request_id"].startswith("req-"))
        self.assertEqual(headers.getRawHeaders("X-Request-ID"), [body["request_id"]])

    def test_one_that_is_not_sane_is_replaced(self) -> None:
        for sent in ("a b", "x" * 129, "é", '"'):
            _, _, body = self.ask(Application().app, "GET", "/thing", headers={"X-Request-ID": sent})
            self.assertTrue(body["request_id"].startswith("req-"), sent)

    def test_it_does_not_stay_behind(self) -> None:
        self.ask(Application().app, "GET", "/thing", headers={"X-Request-ID": "req-7"})
        self.assertIsNone(request_id.get())


class BodyTests(HttpCase):
    JSON = {"Content-Type": "application/json"}

    def post(self, data: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        code, _, body = self.ask(
            Application().app, "POST", "/body", data=data, headers=self.JSON if headers is None else headers
        )
        return code, body

    def test_json_is_read(self) -> None:
        self.assertEqual(self.post('{"a": ["é", "\\u00e9", 1]}'.encode()), (200, {"a": ["é", "é", 1]}))
        self.assertEqual(self.post(b"1", {"Content-Type": 'Application/JSON; charset="UTF-8"'}), (200, 1))

    def test_what_does_not_say_that_it_is_json_is_refused(self) -> None:
        for headers in (
            {},
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/json; charset=latin-1"},
        ):
            code, body = self.post(b"{}", headers)
            self.assertEqual((code, body["error"]["code"]), (415, "UnsupportedMediaType"))

    def test_what_is_no_json_is_refused(self) -> None:
        for data in (b"", b"{", b"\xff", b"NaN", b"[Infinity]", b'"\\ud800"', b"1" * 50 + b"x"):
            code, body = self.post(data)
            self.assertEqual((code, body["error"]["code"], body["error"]["field"]), (400, "Invalid", "body"))

    def test_too_long_is_refused_to_the_byte(self) -> None:
        self.assertEqual(self.post(b'"' + b"x" * 98 + b'"')[0], 200)
        code, body = self.post(b'"' + b"x" * 99 + b'"')
        self.assertEqual((code, body["error"]["code"]), (413, "TooLarge"))

    def test_too_deep_is_refused_to_the_level(self) -> None:
        self.assertEqual(self.post(b'[{"a":[1]}]')[0], 200)
        code, body = self.post(b'[{"a":[{}]}]')
        self.assertEqual((code, body["error"]["code"]), (413, "TooLarge"))

    def test_a_very_deep_body_does_no_harm(self) -> None:
        self.assertEqual(self.post(b"[" * 50 + b"]" * 50)[0], 413)
