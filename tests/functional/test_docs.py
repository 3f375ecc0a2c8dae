"""The pages in ``docs/`` say what is true: their commands are run, what they name is there."""

from __future__ import annotations

import argparse
import atexit
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from oslo_config import cfg
from twisted.trial.unittest import SynchronousTestCase

import nfp.agent.config
import nfp.configurator.config
import nfp.device.config
import nfp.manager.config
import nfp.manager.lifecycle.config
import nfp.operator.config
import nfp.proxy.config
from nfp.manager import schemas
from nfp.manager.store import migrate
from nfp.model import errors
from nfp.model.digest import digest
from nfp.model.errors import Invalid
from nfp.model.firewall import normalise
from nfp.model.requests import check_body, tree_of
from nfp.model.schemas import check
from nfp.operator.cli.main import Nfp
from tests.functional import pages
from tests.functional.embedded_stack import NFP, Stack, until
from tests.functional.pages import ROOT
from twisted.plugins import nfp_plugins

STATE_DIR = "/var/lib/nfp"
"""The state directory that the pages speak of; the commands that are run get another."""

READERS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "manager": (nfp.manager.config.OPTS, nfp.manager.lifecycle.config.OPTS),
    "configurator": (nfp.configurator.config.OPTS,),
    "agent": (nfp.agent.config.OPTS,),
    "proxy": (nfp.proxy.config.OPTS,),
    "device": (nfp.device.config.OPTS,),
    "nfp": (nfp.operator.config.OPTS,),
}
"""Who reads which options, by section."""

PLACES = ("nfp", "tests", "tools", "docs", "deploy", "alembic", "examples", "benchmarks", "twisted")
COMMAND_SECONDS = 60.0


def options() -> dict[tuple[str, str], tuple[cfg.Opt, list[str]]]:
    """Every option by section and name, with those who read it."""
    found: dict[tuple[str, str], tuple[cfg.Opt, list[str]]] = {}
    for reader, tables in READERS.items():
        for groups in tables:
            for group, members in groups.items():
                for option in members:
                    found.setdefault((group, option.name), (option, []))[1].append(reader)
    return found


def default_of(option: cfg.Opt) -> str:
    """An option's default as the page writes it."""
    if option.required:
        return "required"
    if option.name == "host":
        return "the machine's name"
    if option.default is None or option.default == {}:
        return ""
    if isinstance(option.default, list):
        return ",".join(option.default)
    if isinstance(option.default, bool):
        return str(option.default).lower()
    return f"{option.default:g}" if isinstance(option.default, float) else str(option.default)


class PathTests(SynchronousTestCase):
    """Files that the pages name."""

    def test_every_file_that_is_named_is_there(self) -> None:
        for path in pages.paths():
            for said in pages.code(path.read_text()):
                if re.match(rf"({'|'.join(PLACES)})/", said) and not re.search(r"[<*\s]", said):
                    self.assertTrue((ROOT / said).exists(), f"{path.name} names {said}, which is not there")

    def test_every_target_of_make_that_is_named_is_there(self) -> None:
        makefile = (ROOT / "Makefile").read_text()
        for path in pages.paths():
            page = path.read_text()
            for said in [*pages.code(page), *pages.commands(page)]:
                found = re.match(r"make ([a-z-]+)", said)
                if found:
                    self.assertRegex(makefile, rf"(?m)^{found[1]}:", f"{path.name}: {said}")


class CommandTests(SynchronousTestCase):
    """Commands of ``nfp`` that the pages show."""

    def setUp(self) -> None:
        self.app = Nfp({})

    def parser(self, words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
        """The parser of the command that the words begin with, and the rest of the words."""
        factory, name, rest = self.app.command_manager.find_command(words)
        built: argparse.ArgumentParser = factory(self.app, None).get_parser(name)
        return built, list(rest)

    def test_commands_and_options_that_are_shown_exist(self) -> None:
        seen = 0
        for path in pages.paths():
            for line in pages.commands(path.read_text()):
                words = shlex.split(line, comments=True)
                if not words or Path(words[0]).name != "nfp":
                    continue
                seen += 1
                parser, rest = self.parser(words[1:])
                known = {name for action in parser._actions for name in action.option_strings}
                for word in rest[: rest.index("--")] if "--" in rest else rest:
                    if word.startswith("-") and not word.startswith("--state-dir="):
                        self.assertIn(word.split("=")[0], known, f"{path.name}: {line}")
        self.assertGreater(seen, 10)

    def test_commands_that_are_named_in_text_exist(self) -> None:
        for path in pages.paths():
            for said in pages.code(path.read_text()):
                found = re.match(r"nfp ((?:[a-z]+ ?)+)", said)
                if found:
                    begun = [name for name in self.names() if f"{name} ".startswith(f"{found[1].strip()} ")]
                    whole = [name for name in self.names() if f"{found[1].strip()} ".startswith(f"{name} ")]
                    self.assertTrue(begun or whole, f"{path.name}: there is no {said}")

    def names(self) -> list[str]:
        """Every command."""
        return [*self.app.command_manager.commands]


class OptionTests(SynchronousTestCase):
    """Tables of options in ``docs/operators.md``."""

    page = pages.text("operators.md")

    def test_no_option_is_missing_and_none_is_made_up(self) -> None:
        told = {
            (group, row["option"].strip("`"))
            for group in {group for group, _ in options()}
            for row in pages.table(self.page, f"[{group}]")
        }
        self.assertEqual(told, set(options()))

    def test_defaults_and_readers_are_the_codes(self) -> None:
        for (group, name), (option, readers) in options().items():
            rows = pages.table(self.page, f"[{group}]")
            (row,) = (row for row in rows if row["option"] == f"`{name}`")
            said = (row["default"].strip("`"), row["read by"], row["meaning"])
            self.assertEqual(said, (default_of(option), ", ".join(readers), option.help), f"[{group}] {name}")

    def test_options_that_are_named_anywhere_exist(self) -> None:
        for path in pages.paths():
            for said in pages.code(path.read_text()):
                found = re.fullmatch(r"\[(\w+)\] (\w+)", said)
                if found:
                    self.assertIn(found.groups(), options(), f"{path.name}: {said}")


class FirewallTests(SynchronousTestCase):
    """``docs/firewall.md``."""

    page = pages.text("firewall.md")

    def accepted(self, config: Mapping[str, Any]) -> set[str]:
        """Names that an object takes, as the refusal of one that it does not take lists them."""
        with self.assertRaises(Invalid) as caught:
            normalise(config)
        return set(caught.exception.reason.partition("expected one of ")[2].split(", "))

    def told(self, heading: str) -> set[str]:
        return {row["attribute"].strip("`") for row in pages.table(self.page, heading)}

    def test_attributes_are_those_that_are_taken(self) -> None:
        self.assertEqual(self.told("Attributes of `firewall`"), self.accepted({"firewall": {"zzz": 1}}))
        rule = {"firewall": {"rules": [{"action": "allow", "zzz": 1}]}}
        self.assertEqual(self.told("Attributes of a rule"), self.accepted(rule))

    def test_attributes_without_meaning_are_taken_too(self) -> None:
        text = pages.section(self.page, "Attributes of a rule")
        firewall, rule = (
            re.findall(r"`([a-z_-]+)`", part)
            for part in re.split(r"In a rule:", text.partition("In a firewall:")[2])
        )
        self.assertGreater(min(len(firewall), len(rule)), 6)
        bare = normalise({"firewall": {"rules": [{"action": "deny"}]}})
        noisy = {"action": "deny", **dict.fromkeys(rule, "x")}
        self.assertEqual(normalise({"firewall": {**dict.fromkeys(firewall, "x"), "rules": [noisy]}}), bare)

    def test_examples_are_valid(self) -> None:
        (example,) = (block for block in pages.blocks(self.page) if block.language == "json")
        self.assertEqual(len(normalise(json.loads(example.body))["firewall"]["rules"]), 4)

    def test_the_refusal_that_is_quoted_is_given(self) -> None:
        rules = [{"action": "allow"}, {"action": "allow"}, {"action": "allow", "protocol": "tpc"}]
        with self.assertRaises(Invalid) as caught:
            normalise({"firewall": {"rules": rules}})
        self.assertIn(str(caught.exception), " ".join(self.page.split()))


class WireTests(SynchronousTestCase):
    """``docs/wire.md``: the messages are whole, and what the code takes."""

    page = pages.text("wire.md")

    def messages(self) -> Iterator[dict[str, Any]]:
        """The JSON of the page."""
        for block in pages.blocks(self.page):
            if block.language == "json":
                yield json.loads(block.body)

    def test_the_create_is_one_that_is_accepted(self) -> None:
        create = next(self.messages())
        self.assertEqual(create["method"], "create_network_service")
        check(create["args"], schemas.CREATE)
        example = json.loads((ROOT / "examples" / "firewall.json").read_text())
        self.assertEqual(create["args"]["network_service"], example)

    def test_requests_to_the_agent_hold_the_digest_of_what_they_ask_for(self) -> None:
        requests = [message["request"] for message in self.messages() if "request" in message]
        self.assertEqual(len(requests), 3)
        for request in requests:
            check_body(request)
            self.assertEqual(request["info"]["context"]["digest"], digest(tree_of(request["config"])))

    def test_results_hold_the_digest_that_was_wanted(self) -> None:
        results = [message for message in self.messages() if message.get("kind") == "nsd_config_notification"]
        self.assertEqual(len(results), 1)
        (item,) = results[0]["notification"]
        self.assertEqual(item["data"]["digest"], results[0]["info"]["context"]["digest"])

    def test_the_agents_report_is_one_that_is_accepted(self) -> None:
        (report,) = (message for message in self.messages() if "agent" in message)
        check(report, schemas.REPORT_AGENT)

    def test_errors_that_are_named_exist(self) -> None:
        lines = re.findall(r"^\| (`[A-Z]\w+`(?:, `[A-Z]\w+`)*) \|", self.page, re.MULTILINE)
        named = {name for line in lines for name in re.findall(r"\w+", line)}
        family = {
            kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")
        }
        self.assertEqual(named, family - {"Error"})


class UnitTests(SynchronousTestCase):
    """``deploy/systemd``."""

    def units(self) -> dict[str, list[str]]:
        """Each unit's name and the command that it starts."""
        found = {}
        for path in (ROOT / "deploy" / "systemd").glob("*.service"):
            (line,) = re.findall(r"^ExecStart=(.*)$", path.read_text(), re.MULTILINE)
            found[path.stem] = shlex.split(line)
        return found

    def test_there_is_one_for_each_process(self) -> None:
        plugins = {maker.tapname for maker in vars(nfp_plugins).values() if hasattr(maker, "tapname")}
        self.assertEqual(set(self.units()), {*plugins, "nfp-up"})

    def test_each_starts_its_process_with_options_that_exist(self) -> None:
        makers = {maker.tapname: maker for maker in vars(nfp_plugins).values() if hasattr(maker, "tapname")}
        for name, (program, *words) in self.units().items():
            if name == "nfp-up":
                self.assertEqual((Path(program).name, words[0]), ("nfp", "up"))
                continue
            self.assertEqual(Path(program).name, "twistd")
            self.assertIn("--logger=nfp.daemon.journal.to_stderr", words)
            where = words.index(name)
            known = import_module(makers[name].module).Options().longOpt
            for word in words[where + 1 :]:
                if word.startswith("--"):
                    self.assertIn(f"{word.removeprefix('--')}=", known, name)


@lru_cache(maxsize=1)
def example_package() -> Path:
    """The package of ``docs/developers.md``, installed into a folder."""
    folder = Path(tempfile.mkdtemp(prefix="nfp-docs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source = folder / "source"
    for block in pages.marked(pages.text("developers.md"), "file: "):
        path = source / block.mark.removeprefix("file: ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.body)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
    offline = ("--no-index", "--no-build-isolation", "--no-deps")
    subprocess.run([*pip, *offline, f"--target={folder / 'site'}", str(source)], check=True, timeout=60)
    return folder


class DeploymentTests(SynchronousTestCase):
    """What is told of a running deployment; one for all these tests, with the example module in it."""

    stack: Stack

    def setUp(self) -> None:
        self.stack = deployment()

    def run_line(self, line: str) -> str:
        """Run a command of a page, in the state directory of this deployment."""
        words = shlex.split(line.replace(STATE_DIR, str(self.stack.state.root)))
        if words[0] == "nfp":
            words[0] = str(NFP)
        done = subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_commands_marked_for_running_run_and_print_what_is_shown(self) -> None:
        run = 0
        for path in pages.paths():
            for block in pages.marked(path.read_text(), "run"):
                printed: list[str] = []
                for line in block.body.splitlines():
                    if line.startswith("$ "):
                        printed = [one.strip() for one in self.run_line(line.removeprefix("$ ")).splitlines()]
                        run += 1
                    else:
                        self.assertIn(line.strip(), printed, f"{path.name}: shown, and not printed")
        self.assertGreater(run, 10)
        self.assertEqual(self.stack.device_namespaces(), [])

    def test_the_example_module_is_served_by_the_manager(self) -> None:
        answer = self.stack.node_driver.call("greet", whom="you")
        self.assertEqual(answer["greeting"], "hello you")
        self.assertIn(answer["worker"], (0, 1))

    def test_files_and_sockets_have_the_modes_that_are_told(self) -> None:
        root = self.stack.state.root
        wanted: dict[Path, str] = {}
        for row in pages.table(pages.text("operators.md"), "Files, sockets and ports of `nfp up`"):
            patterns = re.findall(r"`([^`]+)`", row["path in the state directory"])
            found = [path for one in patterns for path in root.glob(re.sub(r"<\w+>", "*", one).rstrip("/"))]
            for path in found if patterns else [root]:
                wanted.setdefault(path, row["mode"])  # what is named whole stands before "all others"
        self.assertGreater(len(wanted), 15)
        found_modes = {path: f"{path.stat().st_mode & 0o7777:04o}" for path in wanted}
        self.assertEqual(found_modes, wanted)

    def test_namespaces_are_named_as_told(self) -> None:
        state = self.stack.state
        page = pages.text("operators.md")
        for name in (state.fabric, state.router, state.configurator, state.lab("x").removesuffix("x")):
            self.assertIn(f"`{name.replace(state.tag, '<tag>')}", page)

    def test_nothing_but_what_is_told_is_written_and_not_read(self) -> None:
        config = cfg.ConfigParser(str(self.stack.state.configuration), {})
        config.parse()
        written = {(group, name) for group, values in config.sections.items() for name in values}
        page = pages.text("operators.md")
        for group, name in written - set(options()):
            self.assertIn(f"`[{group}] {name}`", page)

    def test_the_schema_that_is_shown_is_the_newest(self) -> None:
        self.assertIn(f"schema {migrate.head()}", pages.text("operators.md"))

    def test_log_lines_have_the_fields_that_are_told(self) -> None:
        (shown,) = (b for b in pages.blocks(pages.text("operators.md")) if b.language == "json")
        line = json.loads((self.stack.state.log / "manager.log").read_text().splitlines()[0])
        told = {"time", "level", "component", "logger", "event", "request_id"}
        self.assertEqual(told - set(line), set())
        self.assertEqual(told - set(json.loads(shown.body)), set())


@lru_cache(maxsize=1)
def deployment() -> Stack:
    """A deployment with the example module installed beside ``nfp``."""
    package = example_package()
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (before, str(package / "site"))))
    made = Stack()
    atexit.register(made.close)
    try:
        made.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    until(lambda: made.state.device_socket.exists(), "the device runtime's socket is there")
    return made
