"""``docs/blueprint.md`` says what is served and what is not; here it is held to that, both ways."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import HTTPException

from nfp.agent.rpc import TOPIC as AGENT_TOPIC
from nfp.agent.rpc import AgentRpc
from nfp.configurator.api import Api
from nfp.manager import config
from nfp.manager.interfaces import ILifeCycleDriver
from nfp.manager.lifecycle.namespace import NamespaceDriver
from nfp.manager.service import MODULES as MANAGER_MODULES
from nfp.manager.service import TOPIC as MANAGER_TOPIC
from nfp.manager.store.resources import RESOURCES, Default
from nfp.model.errors import Invalid
from nfp.process.interfaces import IModule
from nfp.process.registry import load_modules, merged, methods_of
from nfp.rpc.envelope import Request
from nfp.rpc.errors import NoSuchMethod

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "blueprint.md"
CONFIGURATOR_MODULES = "nfp.configurator_modules"

DONE, PARTLY, NOT_YET = "done", "partly", "not yet"

SIZES = {
    "RPC of the Network Service Manager": 10,
    "Notifications of the Network Service Configurator": 3,
    "Methods of a life cycle driver": 10,
    "REST operations of the Network Service Configurator": 6,
    "RPC operations of the Configurator Agent": 6,
    "Modules": 5,
    "Components": 5,
    "Resources": 35,
}
"""How many rows the blueprint has for each table."""

Row = Mapping[str, str]


def tables(text: str) -> Iterator[tuple[str, list[Row]]]:
    """Read each section that has a table: its heading and the table's rows."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        cells = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in body.splitlines()
            if line.startswith("|")
        ]
        if cells:
            names, _, *rows = cells
            yield heading.strip(), [dict(zip(names, row, strict=True)) for row in rows]


@lru_cache(maxsize=1)
def page() -> dict[str, list[Row]]:
    """The tables of the page by heading."""
    return dict(tables(PAGE.read_text()))


def named(row: Row, column: str) -> str:
    """A cell that names something, without its code marks."""
    return row[column].strip("`")


def by_status(heading: str, column: str) -> tuple[list[str], list[str]]:
    """What a table marks done, and what it marks not yet; there is nothing between."""
    found: dict[str, list[str]] = {DONE: [], NOT_YET: []}
    for row in page()[heading]:
        found[row["status"]].append(named(row, column))
    return found[DONE], found[NOT_YET]


@lru_cache(maxsize=1)
def manager_modules() -> Sequence[IModule]:
    """The manager's own modules, loaded as it loads them."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("[DEFAULT]\ntransport_url = rabbit://nobody@nowhere\n[database]\nconnection = sqlite://\n")
        file.flush()
        settings = config.read([file.name])
    return load_modules(MANAGER_MODULES, settings, ours(MANAGER_MODULES))


@lru_cache(maxsize=1)
def configurator_modules() -> Sequence[IModule]:
    """The configurator's own modules, loaded as it loads them."""
    return load_modules(CONFIGURATOR_MODULES, None, ours(CONFIGURATOR_MODULES))


def ours(group: str) -> list[str]:
    """Names of our entry points in a group, without those of whatever else is installed."""
    return sorted({point.name for point in entry_points(group=group) if point.value.startswith("nfp.")})


class PageTests(SynchronousTestCase):
    """The page itself."""

    def test_every_table_is_there_and_whole(self) -> None:
        self.assertEqual({name: len(page()[name]) for name in SIZES}, SIZES)

    def test_every_row_has_a_line_and_a_status(self) -> None:
        for heading, rows in page().items():
            for row in rows:
                self.assertRegex(row["line"], r"^[1-9][0-9]{0,2}$", f"{heading}: {row}")
                if "status" in row:
                    self.assertRegex(row["status"], r"^(done|partly|not yet)(: .+)?$", f"{heading}: {row}")
                    self.assertFalse(row["status"] == PARTLY, f"partly without saying what is missing: {row}")

    def test_modules_and_tests_that_are_named_exist(self) -> None:
        for heading, rows in page().items():
            for row in rows:
                for column in ("module", "test"):
                    path = named(row, column) if column in row else ""
                    if "/" in path:
                        self.assertTrue((ROOT / path).is_file(), f"{heading}: there is no {path}")
                if "test" in row and row["status"] != NOT_YET and not row["status"].startswith(f"{NOT_YET}:"):
                    self.assertIn("tests/", row["test"], f"{heading}: nothing shows {row}")


class ManagerTests(SynchronousTestCase):
    """What the manager serves."""

    def test_rpc(self) -> None:
        served = methods_of(manager_modules())
        done, not_yet = by_status("RPC of the Network Service Manager", "method")
        self.assertEqual([name for name in done if name not in served], [])
        self.assertEqual([name for name in not_yet if name in served], [])

    def test_each_rpc_has_somebody_who_does_it(self) -> None:
        handled = merged("event", ((module, module.event_handlers()) for module in manager_modules()))
        for name in by_status("RPC of the Network Service Manager", "method")[0]:
            handler = methods_of(manager_modules())[name]
            self.assertTrue(handler.answer is not None or handler.event in handled, name)

    def test_notifications(self) -> None:
        handled = merged("event", ((module, module.event_handlers()) for module in manager_modules()))
        done, not_yet = by_status("Notifications of the Network Service Configurator", "notification")
        self.assertEqual([name for name in done if name not in handled], [])
        self.assertEqual([name for name in not_yet if name in handled], [])

    def test_driver(self) -> None:
        done, not_yet = by_status("Methods of a life cycle driver", "method")
        methods = {name for name in ILifeCycleDriver.names() if name != "name"}
        self.assertEqual(methods, {*done, *not_yet})
        self.assertEqual([name for name in done if not callable(getattr(NamespaceDriver, name, None))], [])
        self.assertEqual([name for name in not_yet if hasattr(NamespaceDriver, name)], [])

    def test_topics(self) -> None:
        text = PAGE.read_text()
        self.assertIn(f"`{MANAGER_TOPIC}`", text)
        self.assertIn(f"`{AGENT_TOPIC}`", text)


class ConfiguratorTests(SynchronousTestCase):
    """What the configurator serves."""

    def serves(self, operation: str) -> bool:
        """Whether the URL leads to a handler and a module takes the operation."""
        app: Klein = Api.app
        urls = app.url_map.bind("configurator")
        try:
            endpoint, arguments = urls.match(f"/v1/nfp/{operation}", "POST")
        except HTTPException:
            return False
        routed = endpoint in app.endpoints and arguments == {"operation": operation}
        return routed and operation in methods_of(configurator_modules())

    def test_rest(self) -> None:
        done, not_yet = by_status("REST operations of the Network Service Configurator", "operation")
        self.assertEqual([name for name in done if not self.serves(name)], [])
        self.assertEqual([name for name in not_yet if self.serves(name)], [])
        self.assertFalse(self.serves("make_coffee"))


class AgentTests(SynchronousTestCase):
    """What the agent serves."""

    def serves(self, method: str) -> bool:
        """Whether the agent looks at the arguments of *method*; here there are none, so it refuses."""
        nobody: Any = None
        request = Request(method, {}, "1.0", None, {}, "0" * 32, True, None)
        asked = Deferred.fromCoroutine(AgentRpc(nobody, nobody).dispatch(request))
        return self.failureResultOf(asked, Invalid, NoSuchMethod).check(Invalid) is not None

    def test_rpc(self) -> None:
        done, not_yet = by_status("RPC operations of the Configurator Agent", "operation")
        self.assertEqual([name for name in done if not self.serves(name)], [])
        self.assertEqual([name for name in not_yet if self.serves(name)], [])
        self.assertFalse(self.serves("make_coffee"))


class HouseTests(SynchronousTestCase):
    """Modules and components."""

    def test_modules(self) -> None:
        groups = {"manager": MANAGER_MODULES, "configurator": CONFIGURATOR_MODULES}
        for row in page()["Modules"]:
            there = named(row, "entry point") in ours(groups[row["component"]])
            self.assertEqual(there, row["status"] == DONE, row)

    def test_components(self) -> None:
        plugins = {
            maker.tapname
            for maker in vars(import_module("twisted.plugins.nfp_plugins")).values()
            if hasattr(maker, "tapname")
        }
        for row in page()["Components"]:
            name = named(row, "started by")
            there = name in plugins or ("." in name and find_spec(name) is not None)
            self.assertEqual(there, row["status"] == DONE, row)


class ResourceTests(SynchronousTestCase):
    """The store's resources, attribute by attribute."""

    def test_attributes(self) -> None:
        words = {Default.REQUIRED: "required", Default.GENERATED: "generated", Default.NOTHING: "none"}
        stored = [
            (
                resource.name,
                attribute.name,
                attribute.type.value,
                "RW" if attribute.writable else "RO",
                words[attribute.default] if isinstance(attribute.default, Default) else "''",
                attribute.references or "",
                ", ".join(attribute.choices),
            )
            for resource in RESOURCES.values()
            for attribute in resource.attributes
        ]
        columns = ("resource", "attribute", "type", "access", "default", "refers to", "one of")
        rows = page()["Resources"]
        told = [tuple(named(row, column) for column in columns) for row in rows if row["status"] == DONE]
        self.assertEqual(told, stored)
        absent = [named(row, "attribute") for row in rows if row["status"] != DONE]
        self.assertEqual(absent, [])
