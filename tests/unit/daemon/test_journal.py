"""The journal's lines."""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nfp.daemon import journal
from nfp.model.secret import Secret


class Held:
    """Something that JSON does not know."""

    def __init__(self, password: Secret) -> None:
        self.password = password

    def __repr__(self) -> str:
        return f"Held({self.password})"


class Broken:
    """Something that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class JournalTests(SynchronousTestCase):
    """What a log call becomes."""

    def setUp(self) -> None:
        """Log into a text."""
        self.stream = io.StringIO()
        self.log = Logger(namespace="nfp.test", observer=journal.observer("nfp-test", self.stream))

    def lines(self) -> list[dict[str, Any]]:
        """What was written, parsed."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def test_a_line_has_time_level_component_event_and_fields(self) -> None:
        self.log.info("took {method}", method="create", count=3)
        [line] = self.lines()
        self.assertRegex(line.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            line,
            {
                "level": "info",
                "component": "nfp-test",
                "logger": "nfp.test",
                "event": "took {method}",
                "text": "took create",
                "request_id": None,
                "method": "create",
                "count": 3,
            },
        )

    def test_the_request_that_is_bound_is_on_every_line(self) -> None:
        with journal.bind("req-1"):
            self.log.info("one")
            with journal.bind("req-2"):
                self.log.info("two")
            with journal.bind(None):
                self.log.info("three")
        self.log.info("four")
        self.assertEqual([line["request_id"] for line in self.lines()], ["req-1", "req-2", "req-1", None])

    def test_the_request_follows_a_coroutine_and_no_other(self) -> None:
        gate: Deferred[None] = Deferred()

        async def work(request: str) -> None:
            with journal.bind(request):
                await gate
                self.log.info("after")

        works = [Deferred.fromCoroutine(work(f"req-{n}")) for n in range(2)]
        gate.callback(None)
        self.assertEqual([line["request_id"] for line in self.lines()], ["req-0", "req-1"])
        self.assertEqual([self.successResultOf(each) for each in works], [None, None])

    def test_a_secret_shows_as_stars_wherever_it_is(self) -> None:
        secret = Secret("hunter2")
        self.log.info("{a} {b}", a=secret, b=Held(secret), c={"d": [secret]}, e={secret: 1})
        self.assertNotIn("hunter2", self.stream.getvalue())
        self.assertEqual(self.lines()[0]["text"], "*** Held(***)")

    def test_a_failure_has_its_traceback_on_the_same_line(self) -> None:
        try:
            raise ValueError("a\nb")
        except ValueError:
            self.log.failure("{what} broke", what="it")
        [line] = self.lines()
        self.assertEqual((line["level"], line["error"], line["reason"]), ("critical", "ValueError", "a\nb"))
        self.assertIn("test_journal.py", line["traceback"])

    def test_no_value_costs_the_line(self) -> None:
        circle: list[object] = []
        circle.append(circle)
        self.log.info("odd", a=circle, b=Broken(), c=b"\xff", d={(1, 2): 3}, e=float("nan"))
        [line] = self.lines()
        self.assertEqual((line["b"], line["c"]), ("<cannot be shown: RuntimeError>", "\\xff"))
        self.assertEqual(line["e"], "nan")

    def test_fields_do_not_overwrite_what_a_line_is(self) -> None:
        self.log.info("x", time=3, event="y", component="z")
        [line] = self.lines()
        self.assertEqual((line["event"], line["component"], line["time_"]), ("x", "nfp-test", 3))

    @given(st.text())
    def test_no_value_begins_a_line_of_its_own(self, text: str) -> None:
        self.stream.seek(0)
        self.stream.truncate()
        self.log.info("said {text}", text=text)
        self.assertEqual(len(self.stream.getvalue().splitlines()), 1)
        self.assertEqual(self.lines()[0]["text_"], text)

    def test_twistd_can_use_it(self) -> None:
        self.assertTrue(verifyObject(ILogObserver, journal.to_stderr()))

    def test_the_component_is_the_subcommand_of_twistd_unless_named(self) -> None:
        argv = ["/usr/bin/twistd", "-n", "nfp-agent", "--config", "x"]
        self.assertEqual(journal._component(argv, {}), "nfp-agent")
        self.assertEqual(journal._component(argv, {"NFP_COMPONENT": "nfp-manager/1"}), "nfp-manager/1")
        self.assertEqual(journal._component(["/usr/bin/nfp"], {}), "nfp")
