"""What a listener makes of a request."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Conflict, Invalid, NotFound
from nfp.process.interfaces import Event, RpcHandler
from nfp.process.listener import Listener
from nfp.process.registry import Claimed
from tests.unit.process.modules import Plain

SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
CALL = {"unique_id": "u", "timestamp": None, "is_call": True}
CAST = {**CALL, "is_call": False}
CONTEXT = {"request_id": "req-1", "tenant": "t"}


class Queue:
    """A pool that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.result: Deferred[object] = succeed("done")

    def submit(self, event: Event) -> Deferred[object]:
        """Remember."""
        self.events.append(event)
        return self.result


METHODS = {
    "create": RpcHandler(SCHEMA, "create_it", lambda args: f"service:{args['id']}"),
    "list": RpcHandler({}, "list_them"),
    "plumbing": RpcHandler(SCHEMA, answer=lambda args: {"for": args["id"]}),
    "notify": RpcHandler(
        SCHEMA,
        "notify",
        refused=lambda args, why, field: Event("lost", "refused", {"why": why, "field": field}),
    ),
    "ignore": RpcHandler(SCHEMA, "ignore", refused=lambda args, why, field: None),
}


class ListenerTests(SynchronousTestCase):
    """What :meth:`Listener.handle` does."""

    def setUp(self) -> None:
        """A listener with one module."""
        self.queue = Queue()
        self.listener = Listener(self.queue, [Plain(methods=METHODS)])

    def handle(self, method: str, args: dict[str, Any], envelope: dict[str, Any] = CALL) -> Deferred[object]:
        """Ask it."""
        work: Awaitable[object] = self.listener.handle(method, args, envelope, CONTEXT)
        return Deferred.fromCoroutine(work)  # type: ignore[arg-type]

    def test_a_request_becomes_an_event_on_the_queue_of_its_key(self) -> None:
        self.assertEqual(self.successResultOf(self.handle("create", {"id": "a"})), "done")
        self.assertEqual(
            self.queue.events,
            [Event("service:a", "create_it", {"args": {"id": "a"}, "envelope": CALL}, CONTEXT)],
        )

    def test_a_read_goes_to_any_worker(self) -> None:
        self.successResultOf(self.handle("list", {}))
        self.assertIsNone(self.queue.events[0].key)

    def test_the_answer_waits_for_the_worker(self) -> None:
        self.queue.result = Deferred()
        answer = self.handle("create", {"id": "a"})
        self.assertNoResult(answer)
        self.queue.result.errback(Conflict("no"))
        self.failureResultOf(answer, Conflict)

    def test_a_pure_answer_is_given_at_once(self) -> None:
        self.assertEqual(self.successResultOf(self.handle("plumbing", {"id": "a"})), {"for": "a"})
        self.assertEqual(self.queue.events, [])

    def test_a_bad_call_is_refused_with_its_field_and_no_event(self) -> None:
        for method in METHODS.keys() - {"list"}:
            failure = self.failureResultOf(self.handle(method, {"id": 3}), Invalid)
            self.assertEqual(failure.value.field, "id")
        self.assertEqual(self.queue.events, [])

    def test_a_bad_cast_is_recorded_where_the_module_wants_it(self) -> None:
        self.assertIsNone(self.successResultOf(self.handle("notify", {}, CAST)))
        [event] = self.queue.events
        self.assertEqual((event.payload, event.context), ({"why": "is required", "field": "id"}, CONTEXT))

    def test_a_bad_cast_is_dropped_otherwise(self) -> None:
        for method in ("ignore", "create"):
            self.assertIsNone(self.successResultOf(self.handle(method, {}, CAST)))
        self.assertEqual(self.queue.events, [])

    def test_a_method_of_nobody_is_not_found(self) -> None:
        self.failureResultOf(self.handle("destroy", {}), NotFound)
        self.assertEqual(set(self.listener.methods), set(METHODS))

    def test_two_modules_with_one_method_are_refused(self) -> None:
        modules = [Plain("a", methods=METHODS), Plain("b", methods={"list": METHODS["list"]})]
        self.assertRaises(Claimed, Listener, self.queue, modules)
