"""Tests for the commands, from the words on the command line to what is printed."""

from __future__ import annotations

import argparse
import io
import json
import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import NfpError
from nfp.operator.cli.bridge import Bridge, CommandFailed, Work
from nfp.operator.cli.main import Nfp
from nfp.operator.manager import Manager
from tests.unit.operator.manager_double import ManagerDouble


class ClockBridge:
    """Runs work on a clock that jumps to whatever is awaited."""

    def __init__(self, double: ManagerDouble) -> None:
        self._double = double

    def run(self, work: Work[Any]) -> Any:
        clock = Clock()
        running: Deferred[Any] = Deferred.fromCoroutine(work(Manager(self._double, 10.0), clock))  # type: ignore[arg-type]
        ended: list[Any] = []
        _ = running.addBoth(ended.append)
        while not ended:
            clock.advance(clock.getDelayedCalls()[0].getTime() - clock.seconds())
        if hasattr(ended[0], "raiseException"):
            try:
                ended[0].raiseException()
            except NfpError as error:
                raise CommandFailed(str(error)) from error
        return ended[0]


class Cli(Nfp):
    """The command line with a manager in memory behind it."""

    def __init__(self, double: ManagerDouble, **streams: Any) -> None:
        self._double = double
        super().__init__({}, **streams)

    def bridge(self, command: argparse.Namespace) -> Bridge:
        return ClockBridge(self._double)


class CommandCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.double = ManagerDouble()
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        self.addCleanup(root.setLevel, level)
        self.addCleanup(setattr, root, "handlers", handlers)

    def nfp(self, *words: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        logging.getLogger().handlers = []
        try:
            code = int(Cli(self.double, stdout=out, stderr=err).run(list(words)))
        finally:
            self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def json(self, *words: str) -> Any:
        self.assertEqual(self.nfp(*words, "-f", "json"), 0, self.err_or_nothing())
        return json.loads(self.out)

    def err_or_nothing(self) -> str:
        return getattr(self, "err", "")

    def sent(self, method: str) -> Any:
        [args] = [args for name, args in self.double.calls if name == method]
        return args


class Listing(CommandCase):
    def test_it_lists_as_table_and_as_json(self) -> None:
        service = self.double.add(name="fw", status_description=None)
        self.assertEqual(self.nfp("service", "list"), 0)
        self.assertIn(service["id"], self.out)
        self.assertNotIn("None", self.out)
        [row] = self.json("service", "list")
        self.assertEqual((row["id"], row["name"], row["status_description"]), (service["id"], "fw", None))

    def test_filters_are_the_managers_work(self) -> None:
        self.double.add(name="a", status="ERROR")
        self.double.add(name="b")
        [row] = self.json("service", "list", "--status", "ERROR", "--status", "DOWN")
        self.assertEqual(row["name"], "a")
        self.assertEqual(self.sent("get_network_services")["filters"], {"status": ["ERROR", "DOWN"]})

    def test_a_limit_gives_one_page(self) -> None:
        for _ in range(3):
            self.double.add()
        self.assertEqual(
            len(self.json("service", "list", "--limit", "2", "--sort", "name:desc", "--sort", "id")), 2
        )
        self.assertEqual(self.sent("get_network_services")["sort"], ["-name", "id"])

    def test_long_shows_times_as_times(self) -> None:
        self.double.add()
        self.nfp("service", "list", "--long", "--max-width", "0")
        self.assertIn("1970-01-01T00:00:00+00:00", self.out)


class Showing(CommandCase):
    def test_the_blueprints_attributes_come_first(self) -> None:
        self.double.add(name="fw", extra=1)
        shown = list(self.json("service", "show", "fw"))
        self.assertEqual(shown[:3], ["id", "name", "tenant_id"])
        self.assertEqual(shown[-1], "extra")

    def test_an_unknown_one_is_an_error_without_a_traceback(self) -> None:
        self.assertEqual(self.nfp("service", "show", "nope"), 1)
        self.assertEqual(self.err, "there is no network service nope\n")
        self.assertEqual(self.out, "")


class Creating(CommandCase):
    def test_options_make_the_request(self) -> None:
        shown = self.json(
            *("service", "create", "--tenant-id", "t1", "--service-id", "s1", "--service-chain-id", "c1"),
            *("--name", "fw", "--service-type", "FIREWALL", "--vendor", "v", "--id", str(uuid4())),
            *("--config", '{"firewall": {"rules": []}}', "--provider", '{"port": []}'),
        )
        sent = self.sent("create_network_service")["network_service"]
        self.assertEqual(sent.pop("id"), shown["id"])
        self.assertEqual(
            sent,
            {
                "name": "fw",
                "tenant_id": "t1",
                "service_id": "s1",
                "service_chain_id": "c1",
                "service_profile": {"service_type": "FIREWALL", "vendor": "v"},
                "service_config": {"firewall": {"rules": []}},
                "provider": {"port": []},
            },
        )

    def test_options_come_over_the_file(self) -> None:
        path = Path(self.mktemp())
        request = {
            "tenant_id": "t",
            "name": "old",
            "service_profile": {"service_type": "FIREWALL", "vendor": "x"},
        }
        for text in (request, {"network_service": request}):
            self.double.calls.clear()
            path.write_text(json.dumps(text))
            self.json("service", "create", "--file", str(path), "--name", "new", "--vendor", "y")
            sent = self.sent("create_network_service")["network_service"]
            self.assertEqual(sent["name"], "new")
            self.assertEqual(sent["service_profile"], {"service_type": "FIREWALL", "vendor": "y"})

    def test_a_configuration_may_be_a_file_or_prefixed_text(self) -> None:
        path = Path(self.mktemp())
        path.write_text('{"firewall": {}}')
        for given, sent in ((str(path), {"firewall": {}}), ('heat_config:{"a": 1}', 'heat_config:{"a": 1}')):
            self.double.calls.clear()
            self.json("service", "create", "--tenant-id", "t", "--config", given)
            self.assertEqual(self.sent("create_network_service")["network_service"]["service_config"], sent)

    def test_input_that_cannot_be_read_is_refused_before_anything_is_sent(self) -> None:
        for words, text in (
            (("--config", "{bad"), "--config: not JSON"),
            (("--config", "[1]"), "--config: expected a JSON object"),
            (("--config", "/nowhere"), "--config: /nowhere: No such file"),
            (("--file", "/nowhere"), "--file: /nowhere: No such file"),
            ((), "what?"),
        ):
            self.assertEqual(self.nfp("service", "create", *words), 1)
            self.assertIn(text, self.err)
        self.assertEqual(self.double.calls, [])

    def test_the_managers_refusal_names_the_field(self) -> None:
        self.assertEqual(self.nfp("service", "create", "--name", "x"), 1)
        self.assertEqual(self.err, "network_service.tenant_id: is required\n")

    def test_without_wait_it_shows_what_is_pending(self) -> None:
        self.assertEqual(self.json("service", "create", "--tenant-id", "t")["status"], "PENDING_CREATE")
        self.assertEqual(self.err, "")

    def test_with_wait_it_tells_the_stages_and_shows_the_end(self) -> None:
        self.assertEqual(self.json("service", "create", "--tenant-id", "t", "--wait")["status"], "ACTIVE")
        told = [line.partition(" s  ")[2] for line in self.err.splitlines()]
        self.assertEqual(told, ["PENDING_CREATE: device is being configured", "ACTIVE"])

    def test_a_service_that_ends_in_error_is_shown_and_fails_the_command(self) -> None:
        self.double.script = [("PENDING_CREATE", ""), ("ERROR", "the device refused")]
        self.assertEqual(self.nfp("service", "create", "--tenant-id", "t", "--wait", "-f", "json"), 1)
        self.assertEqual(json.loads(self.out)["status"], "ERROR")
        self.assertIn("is ERROR: the device refused", self.err.splitlines()[-1])

    def test_a_service_that_does_not_settle_fails_the_command(self) -> None:
        self.double.script = [("PENDING_CREATE", "no agent")]
        code = self.nfp("service", "create", "--tenant-id", "t", "--wait", "--timeout", "5", "-f", "json")
        self.assertEqual(code, 1)
        self.assertEqual(json.loads(self.out)["status"], "PENDING_CREATE")
        self.assertIn("has not settled within 5 s: PENDING_CREATE: no agent", self.err)


class Changing(CommandCase):
    def test_an_update_sends_what_is_named_and_waits(self) -> None:
        service = self.double.add(name="fw")
        shown = self.json("service", "update", "fw", "--config", '{"firewall": {"rules": []}}', "--wait")
        self.assertEqual(shown["status"], "ACTIVE")
        self.assertEqual(
            self.sent("update_network_service"),
            {
                "network_service_id": service["id"],
                "network_service": {"service_config": {"firewall": {"rules": []}}},
            },
        )

    def test_a_delete_waits_until_all_are_gone(self) -> None:
        ids = [self.double.add(name=name)["id"] for name in ("a", "b")]
        self.assertEqual(self.nfp("service", "delete", "a", ids[1], "--wait"), 0)
        self.assertEqual(self.double.services, {})
        self.assertEqual(self.err.count("gone"), 2)

    def test_a_delete_of_an_unknown_one_deletes_none(self) -> None:
        self.double.add(name="a")
        self.assertEqual(self.nfp("service", "delete", "a", "nope"), 1)
        self.assertNotIn("delete_network_service", self.double.methods())

    def test_a_delete_that_ends_in_error_fails(self) -> None:
        service = self.double.add(name="a")
        self.patch(self.double, "delete_network_service", lambda network_service_id: None)
        self.double.ahead[service["id"]] = [("PENDING_DELETE", ""), ("ERROR", "cannot unplug")]
        self.assertEqual(self.nfp("service", "delete", service["id"], "--wait"), 1)
        self.assertIn("is ERROR: cannot unplug", self.err)


class Words(CommandCase):
    def test_options_behind_the_command_are_the_commands(self) -> None:
        # --config means the configuration of NFP before the command, and of the service behind it.
        self.json("--config", "/nfp.conf", "service", "create", "--tenant-id", "t", "--config", "{}")
        self.assertEqual(self.sent("create_network_service")["network_service"]["service_config"], {})

    def test_an_unknown_command_and_an_unknown_option_are_told(self) -> None:
        self.assertEqual(self.nfp("nonsense"), 2)
        with self.assertRaises(SystemExit):
            self.nfp("service", "list", "--nonsense")

    def test_nothing_gives_help(self) -> None:
        with self.assertRaises(SystemExit) as caught:
            self.nfp()
        self.assertEqual(caught.exception.code, 2)
        self.assertIn("service create", self.out + self.err)


class Pki(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())

    def test_an_authority_is_made_and_issues(self) -> None:
        where = ("--dir", str(self.directory))
        self.assertEqual(self.nfp("pki", "init", *where), 0)
        self.assertEqual(self.out.strip(), str(self.directory / "ca.pem"))
        self.assertEqual(
            self.nfp("pki", "issue", "agent.host", "--ip", "192.0.2.1", "--client-only", *where), 0
        )
        path = Path(self.out.strip())
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        rows = self.json("pki", "show", *where)
        self.assertEqual([row["name"] for row in rows][1:], ["agent.host"])
        self.assertEqual(rows[1]["names"], "agent.host, 192.0.2.1")
        self.assertEqual({row["renewal"] for row in rows}, {""})
        self.assertNotIn("PRIVATE", self.out)

    def test_the_state_directory_has_one(self) -> None:
        self.assertEqual(self.nfp("--state-dir", str(self.directory), "pki", "init"), 0)
        self.assertTrue((self.directory / "pki" / "ca.pem").exists())

    def test_what_cannot_be_done_is_told(self) -> None:
        for words, text in (
            (("pki", "init"), "give --dir"),
            (("pki", "issue", "x", "--dir", "/nowhere"), "no certificate authority"),
            (("pki", "show", "--dir", "/nowhere"), "no certificate authority"),
        ):
            self.assertEqual(self.nfp(*words), 1)
            self.assertIn(text, self.err)
        self.nfp("pki", "init", "--dir", str(self.directory))
        self.assertEqual(self.nfp("pki", "issue", "../evil", "--dir", str(self.directory)), 1)
        self.assertEqual(sorted(p.name for p in self.directory.glob("*.pem")), ["ca.pem"])
