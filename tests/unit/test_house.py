"""The rules of the house: who may import whom, and which folders must not be packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import nfp

ROOT = Path(nfp.__file__).resolve().parent.parent

ROOMS = {
    "model": 0,
    "daemon": 1,
    "process": 2,
    "rpc": 2,
    "rest": 2,
    "netns": 2,
    "pki": 2,
    "manager": 3,
    "configurator": 3,
    "agent": 3,
    "proxy": 3,
    "device": 3,
    "operator": 3,
    "embedded": 4,
}
"""Floors: a room imports from lower floors only, and never from another room on its own."""

TESTING_MAY = ("model", "daemon", "process", "rest", "manager.interfaces", "configurator.interfaces")
"""What the shipped contract suites know."""

REACTOR_MAY = ("tap.py", "process/child.py")
"""Where the reactor is made and everything else gets it as an argument."""


def imported(source: str, module: str) -> Iterator[str]:
    """Every module or name that *source* imports, in full.

    :param module: the name of the module itself, for relative imports.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def forbidden(path: str, source: str) -> list[str]:
    """What *source* imports and must not.

    :param path: of the module, below ``nfp/``.
    """
    module = "nfp." + path.removesuffix(".py").replace("/", ".")
    found = []
    for name in imported(source, module):
        why = _ours(path, name) if name == "nfp" or name.startswith("nfp.") else _others(path, name)
        if why:
            found.append(f"{path} imports {name}: {why}")
    return found


def _ours(path: str, name: str) -> str | None:
    room, target = path.partition("/")[0], name.partition(".")[2]
    other = target.partition(".")[0]
    if other not in (*ROOMS, "gbp", "testing") or room == other:
        return None
    if room == "gbp":
        return "it runs inside neutron-server, without the rest of us"
    if other == "embedded":
        return "nothing imports the embedded topology"
    if other == "testing":
        return "what runs does not know its tests"
    if room == "testing":
        known = any(target == each or target.startswith(f"{each}.") for each in TESTING_MAY)
        return None if known else "a contract suite knows interfaces only"
    if other == "gbp" or ROOMS.get(room, -1) <= ROOMS[other]:
        return "imports go downwards only"
    return None


def _others(path: str, name: str) -> str | None:
    if name.split(".")[0] == "txamqp" and not path.startswith("rpc/"):
        return "only nfp.rpc knows txAMQP"
    if name.startswith("twisted.internet.reactor") and not path.endswith(REACTOR_MAY):
        return "the reactor is an argument"
    return None


class ImportTests(SynchronousTestCase):
    """Imports go downwards."""

    def test_every_module_keeps_the_rule(self) -> None:
        found = [
            problem
            for path in sorted((ROOT / "nfp").rglob("*.py"))
            for problem in forbidden(str(path.relative_to(ROOT / "nfp")), path.read_text())
        ]
        self.assertEqual(found, [])

    def test_every_room_is_on_a_floor(self) -> None:
        rooms = {path.parent.name for path in (ROOT / "nfp").glob("*/__init__.py")}
        self.assertEqual(rooms - set(ROOMS) - {"gbp", "testing"}, set())

    def test_the_rule_finds_what_it_forbids(self) -> None:
        for path, source in (
            ("model/a.py", "import nfp.daemon.journal"),
            ("daemon/a.py", "from nfp.process import pool"),
            ("rest/a.py", "from nfp.rpc.url import BrokerURL"),
            ("manager/a.py", "def f():\n    from nfp import configurator"),
            ("manager/store/a.py", "from ...agent import rpc"),
            ("operator/a.py", "import nfp.embedded.up"),
            ("gbp/node_driver.py", "from nfp.model.errors import Invalid"),
            ("manager/a.py", "import nfp.gbp.node_driver"),
            ("testing/a.py", "from nfp.manager.store import engine"),
            ("manager/a.py", "from nfp.testing import contract"),
            ("agent/a.py", "from txamqp.client import TwistedDelegate"),
            ("agent/rpc.py", "from twisted.internet import reactor"),
        ):
            self.assertEqual(len(forbidden(path, source)), 1, (path, source))

    def test_the_rule_lets_pass_what_it_allows(self) -> None:
        for path, source in (
            ("daemon/a.py", "from nfp.model.errors import Invalid"),
            ("manager/a.py", "from nfp.process.pool import WorkerPool\nimport nfp"),
            ("manager/store/a.py", "from . import engine\nfrom ..interfaces import ILifeCycleDriver"),
            ("embedded/a.py", "from nfp.manager.config import read"),
            ("testing/a.py", "from nfp.manager.interfaces import ILifeCycleDriver"),
            ("rpc/a.py", "import txamqp"),
            ("manager/tap.py", "from twisted.internet import reactor"),
        ):
            self.assertEqual(forbidden(path, source), [], (path, source))


class FolderTests(SynchronousTestCase):
    """Folders named like a library must not hide it."""

    def test_no_folder_hides_a_library(self) -> None:
        for folder in ("alembic", "twisted", "twisted/plugins"):
            self.assertTrue((ROOT / folder).is_dir(), folder)
            self.assertFalse((ROOT / folder / "__init__.py").exists(), folder)
