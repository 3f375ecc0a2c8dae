"""The envelope, against messages recorded from oslo.messaging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Conflict, NfpError, NotFound
from nfp.rpc import envelope
from nfp.rpc.envelope import AnswerTo, Malformed
from nfp.rpc.errors import NoSuchMethod, RemoteError, RpcTimeout, UnsupportedVersion, WrongArguments
from tests.unit.rpc.memory import properties_of

CAPTURES = Path(__file__).resolve().parents[2] / "data" / "captures"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


KEYS = [
    "method",
    "args",
    "version",
    "namespace",
    "_msg_id",
    "_reply_q",
    "_timeout",
    "_unique_id",
    "_context_request_id",
    "_context_timestamp",
]


def underscored(raw: bytes) -> dict[str, object]:
    """Message properties by the names in the recordings."""
    return {name.replace("-", "_"): value for name, value in properties_of(raw).items()}


def capture(start: str) -> dict[str, Any]:
    """A recorded message, by the beginning of its file's name."""
    (path,) = CAPTURES.glob(f"{start}*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


class RecordedTests(SynchronousTestCase):
    """What oslo.messaging sent, byte for byte."""

    def test_calls_are_read(self) -> None:
        """A call with all that belongs to it."""
        request, answer_to = envelope.read_request(capture("01-call")["body_raw"].encode())
        self.assertEqual(request.method, "get_network_function")
        self.assertEqual(request.args, {"network_function_id": "nf-0001"})
        self.assertEqual((request.version, request.namespace, request.is_call), ("1.0", None, True))
        self.assertEqual(request.unique_id, "e5fcf8d2efdc4e80ace526b9f2ab0818")
        self.assertEqual(request.context["tenant"], "t1")
        self.assertEqual(request.request_id, "req-1")
        self.assertEqual(
            answer_to,
            AnswerTo("cc3f7422c2a84184b10e9a26d6ae0960", "reply_4bfa62c8af84497c906e7b6e6247f219", None),
        )

    def test_casts_and_monitored_calls_are_read(self) -> None:
        """Nobody waits for a cast; a monitored call says how often it wants to hear."""
        request, answer_to = envelope.read_request(capture("34-cast")["body_raw"].encode())
        self.assertEqual((request.is_call, answer_to), (False, None))
        _, answer_to = envelope.read_request(capture("22-call")["body_raw"].encode())
        assert answer_to is not None
        self.assertEqual(answer_to.every, 2)

    def test_replies_are_read(self) -> None:
        """Null, false and zero are results; a sign of life is not the end."""
        for number, result in (("06", None), ("08", False), ("10", 0)):
            reply = envelope.read_reply(capture(f"{number}-call")["body_raw"].encode())
            self.assertEqual((reply.result, reply.failure, reply.ending), (result, None, True))
            self.assertIs(type(reply.result), type(result))
        self.assertFalse(envelope.read_reply(capture("24-call")["body_raw"].encode()).ending)

    def test_failures_are_rebuilt(self) -> None:
        """Errors that are not ours keep class and text."""
        reply = envelope.read_reply(capture("16-call")["body_raw"].encode())
        assert reply.failure is not None
        error = envelope.error_from(reply.failure)
        assert isinstance(error, RemoteError)
        self.assertEqual((error.remote_type, error.module), ("ValueError", "builtins"))
        self.assertIn("bad value", str(error))

    def test_requests_are_written_alike(self) -> None:
        """The same keys in the same envelope with the same properties."""
        recorded = capture("01-call")
        inner = recorded["envelope_decoded"]["oslo.message"]
        context = {name[9:]: value for name, value in inner.items() if name.startswith("_context_")}
        body = envelope.write_request(
            inner["method"],
            inner["args"],
            context=context,
            answer_to=AnswerTo(inner["_msg_id"], inner["_reply_q"], None),
        )
        ours = envelope.unwrap(body)
        self.assertEqual(set(ours), set(inner))
        self.assertEqual({**ours, "_unique_id": inner["_unique_id"]}, inner)
        self.assertEqual(set(json.loads(body)), set(json.loads(recorded["body_raw"])))
        properties = {
            name.replace("-", "_"): value
            for name, value in properties_of(envelope.call_properties(60000)).items()
        }
        self.assertEqual(properties, recorded["properties"])

    def test_replies_are_written_alike(self) -> None:
        """The same keys, and the same properties."""
        recorded = capture("06-call")
        inner = recorded["envelope_decoded"]["oslo.message"]
        ours = envelope.unwrap(envelope.write_reply(inner["_msg_id"], None))
        self.assertEqual({**ours, "_unique_id": inner["_unique_id"]}, inner)
        properties = {
            name.replace("-", "_"): value for name, value in properties_of(envelope.PROPERTIES).items()
        }
        self.assertEqual(properties, recorded["properties"])


class MalformedTests(SynchronousTestCase):
    """What is no request."""

    @given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
    def test_anything_may_come(self, body: bytes) -> None:
        """It is malformed, and nothing else happens."""
        self.assertRaises(Malformed, envelope.read_request, body)
        self.assertRaises(Malformed, envelope.read_reply, body)

    @given(
        st.dictionaries(
            st.sampled_from(KEYS),
            json_values,
        )
    )
    def test_any_message_in_an_envelope(self, message: dict[str, Any]) -> None:
        """It is a request with the right types, or malformed."""
        try:
            request, answer_to = envelope.read_request(envelope.wrap(message))
        except Malformed:
            return
        self.assertIsInstance(request.method, str)
        self.assertIsInstance(request.args, dict)
        self.assertEqual(request.is_call, answer_to is not None)

    def test_who_waits_is_told_where_it_can_be_read(self) -> None:
        """So that the caller gets an answer."""
        for message in ({"args": {}}, {"method": "m", "args": [1]}, {"method": "m", "version": 1}):
            body = envelope.wrap({**message, "_msg_id": "a", "_reply_q": "b"})
            error = self.assertRaises(Malformed, envelope.read_request, body)
            self.assertEqual(error.answer_to, AnswerTo("a", "b", None))

    def test_deep_nesting(self) -> None:
        """Thousands of brackets are malformed, not a crash."""
        self.assertRaises(Malformed, envelope.read_request, b"[" * 100000)
        inner = json.dumps({"oslo.version": "2.0", "oslo.message": "[" * 100000})
        self.assertRaises(Malformed, envelope.read_request, inner.encode())

    def test_another_envelope_version(self) -> None:
        """Is not guessed at."""
        body = json.dumps({"oslo.version": "3.0", "oslo.message": json.dumps({"method": "m"})})
        self.assertRaises(Malformed, envelope.read_request, body.encode())


class FailureTests(SynchronousTestCase):
    """Errors across the wire."""

    def back(self, error: Exception) -> NfpError:
        """There and back."""
        return envelope.error_from(json.dumps(envelope.failure_of(error)))

    def test_our_errors_come_back_as_they_went(self) -> None:
        """By their code, with their text."""
        for error in (
            NotFound("no such"),
            Conflict("busy"),
            RpcTimeout("late"),
            UnsupportedVersion("v"),
            NoSuchMethod("m"),
        ):
            back = self.back(error)
            self.assertIs(type(back), type(error))
            self.assertEqual(str(back), str(error))

    def test_recorded_dispatcher_errors_are_said_alike(self) -> None:
        """Class, module and text of NoSuchMethod and UnsupportedVersion."""
        dispatcher, start = "oslo_messaging.rpc.dispatcher", "Endpoint does not support RPC "
        for error, module, text in (
            (NoSuchMethod("m"), dispatcher, f"{start}method m"),
            (UnsupportedVersion.of("1.7", "m"), dispatcher, f"{start}version 1.7. Attempted method: m"),
            (WrongArguments("m() got x"), "builtins", "m() got x"),
        ):
            told = envelope.failure_of(error)
            self.assertEqual((told["module"], told["message"]), (module, text))
        self.assertEqual(told["class"], "TypeError")

    def test_other_errors_do_not_tell_their_text(self) -> None:
        """It may hold what the caller must not see."""
        told = envelope.failure_of(ValueError("password is hush"), "req-9")
        self.assertEqual((told["class"], told["module"]), ("ValueError", "builtins"))
        self.assertNotIn("hush", json.dumps(told))
        self.assertIn("req-9", json.dumps(told))

    def test_a_failure_that_is_none(self) -> None:
        """Still is an error."""
        for text in ("", "[]", "null", "{}", '"x"'):
            self.assertIsInstance(envelope.error_from(text), RemoteError)
