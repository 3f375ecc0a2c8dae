"""What a worker does with what it is told."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nfp.daemon import journal
from nfp.model.errors import Conflict, Unavailable
from nfp.process import wire
from nfp.process.interfaces import Event, IWorkerContext, KeyKind, RunAgain, Settled
from nfp.process.registry import Claimed
from nfp.process.runner import Runner
from tests.unit.process.modules import Plain


class RunnerTests(SynchronousTestCase):
    """A runner with a module whose handlers do what the test says."""

    def setUp(self) -> None:
        """Start it."""
        self.clock = Clock()
        self.told: list[list[Any]] = []
        self.seen: list[tuple[Event, str | None]] = []
        self.answers: list[Any] = []
        self.stopped: list[str] = []
        self.runner = Runner(
            3, self.clock, lambda data: self.told.append(json.loads(data)), jitter=lambda: 1.0
        )
        self.module = self.made("one", {"do": self.handle}, {"key": KeyKind(self.run_key)})
        self.successResultOf(
            self.start(self.module, self.made("two", {}, {"poll": KeyKind(self.run_key, False)}))
        )

    def made(self, name: str, events: Any, kinds: Any) -> Plain:
        """A module that says when it stops."""

        async def stop() -> None:
            self.stopped.append(name)

        return Plain(name, {}, events, kinds, stop)

    def start(self, *modules: Plain) -> Deferred[None]:
        """Start modules."""
        return Deferred.fromCoroutine(self.runner.start(modules))

    async def handle(self, event: Event) -> object:
        """Give, await or raise the next answer."""
        self.seen.append((event, journal.request_id.get()))
        return await self.next()

    async def run_key(self, key: str) -> Any:
        """Give, await or raise the next answer."""
        return await self.next()

    async def next(self) -> Any:
        """The next answer."""
        answer = self.answers.pop(0)
        if isinstance(answer, Deferred):
            return await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def event(self, *answers: Any, name: str = "do") -> list[list[Any]]:
        """Send an event; what the runner says to it."""
        self.answers = [*answers]
        self.told.clear()
        self.runner.received([wire.EVENT, 1, "k", name, {"x": 1}, {"request_id": "req-1"}])
        return self.told

    def key(self, answer: Any) -> list[list[Any]]:
        """Run a key; what the runner says to it."""
        self.answers = [answer]
        self.told.clear()
        self.runner.received([wire.RUN, 2, "key:a"])
        return self.told

    def test_it_says_when_it_is_ready_and_which_keys_may_be_suspects(self) -> None:
        self.assertEqual(self.told, [[wire.READY, {"key": True, "poll": False}]])
        self.assertTrue(verifyObject(IWorkerContext, self.module.context))

    def test_two_modules_with_one_event_or_kind_of_key_cannot_start(self) -> None:
        for events, kinds in (({"do": self.handle}, {}), ({}, {"key": KeyKind(self.run_key)})):
            runner = Runner(0, self.clock, self.told.append)  # type: ignore[arg-type]
            modules = [self.module, self.made("rival", events, kinds)]
            self.failureResultOf(Deferred.fromCoroutine(runner.start(modules)), Claimed)

    def test_an_event_is_handled_under_its_request_id(self) -> None:
        self.assertEqual(self.event({"y": 2}), [[wire.ANSWER, 1, {"y": 2}]])
        self.assertEqual(self.seen, [(Event("k", "do", {"x": 1}, {"request_id": "req-1"}), "req-1")])
        self.assertIsNone(journal.request_id.get())

    def test_errors_are_told_ours_whole(self) -> None:
        self.assertEqual(self.event(Conflict("no", field="f")), [[wire.FAILURE, 1, "Conflict", "no", "f"]])
        self.assertEqual(self.event(name="other")[0][2], "NotFound")

    def test_any_other_error_is_logged_and_told_without_detail(self) -> None:
        [[_, _, code, text, _]] = self.event(KeyError("secret"))
        self.assertEqual((code, "secret" in text), ("Error", False))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_result_that_is_no_json_is_told_as_an_error(self) -> None:
        self.assertEqual(self.event(object())[0][:3], [wire.FAILURE, 1, "Invalid"])

    def test_an_event_waits_for_the_store_without_end(self) -> None:
        told = self.event(*[Unavailable("away")] * 10, "stored")
        waits = []
        while not told:
            [call] = self.clock.getDelayedCalls()
            waits.append(round(call.getTime() - self.clock.seconds(), 3))
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0])
        self.assertEqual(told, [[wire.ANSWER, 1, "stored"]])

    def test_how_a_run_ended_is_told(self) -> None:
        self.assertEqual(self.key(Settled()), [[wire.RAN, 2, wire.SETTLED, None]])
        self.assertEqual(self.key(RunAgain(2.5)), [[wire.RAN, 2, wire.AGAIN, 2.5]])
        self.assertEqual(self.key(Unavailable("away")), [[wire.RAN, 2, wire.UNAVAILABLE, None]])
        self.assertEqual(self.key(ValueError("x")), [[wire.RAN, 2, wire.FAILED, None]])
        self.assertEqual(self.key(None), [[wire.RAN, 2, wire.FAILED, None]])
        self.assertEqual(len(self.flushLoggedErrors(ValueError, TypeError)), 2)

    def test_a_ping_is_answered(self) -> None:
        self.told.clear()
        self.runner.received([wire.PING])
        self.assertEqual(self.told, [[wire.PONG]])

    def test_a_module_asks_emits_and_wakes(self) -> None:
        context, self.told[:] = self.module.context, []
        assert context is not None
        context.wake("key:b")
        context.emit("health", {"up": True})
        with journal.bind("req-7"):
            good = Deferred.fromCoroutine(self.ask(Event("z", "do", {"n": 1})))
        bad = Deferred.fromCoroutine(self.ask(Event("z", "do", {"n": 2}, {"request_id": "own"})))
        self.assertEqual(
            self.told,
            [
                [wire.WAKE, "key:b"],
                [wire.EMIT, "health", {"up": True}],
                [wire.SUBMIT, 1, "z", "do", {"n": 1}, {"request_id": "req-7"}],
                [wire.SUBMIT, 2, "z", "do", {"n": 2}, {"request_id": "own"}],
            ],
        )
        self.runner.received([wire.FAILURE, 2, "Conflict", "no", None])
        self.runner.received([wire.ANSWER, 1, "yes"])
        self.assertEqual(self.successResultOf(good), "yes")
        self.failureResultOf(bad, Conflict)

    async def ask(self, event: Event) -> object:
        """Submit as a module does."""
        assert self.module.context is not None
        return await self.module.context.submit(event)

    def test_stopping_cancels_what_runs_unanswered_and_stops_the_modules_last_first(self) -> None:
        told = self.event(Deferred[None]())
        self.answers = [Deferred[None]()]
        self.runner.received([wire.RUN, 2, "key:a"])
        self.successResultOf(Deferred.fromCoroutine(self.runner.stop()))
        self.assertEqual((told, self.stopped), ([], ["two", "one"]))

    def test_a_module_that_fails_to_stop_does_not_keep_the_others(self) -> None:
        async def fail() -> None:
            raise ValueError("x")

        self.successResultOf(self.start(Plain("three", stop=fail)))
        self.successResultOf(Deferred.fromCoroutine(self.runner.stop()))
        self.assertEqual(self.stopped, ["two", "one"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
