"""A package that we know nothing of adds a method and an event."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nfp.model.errors import Invalid
from nfp.process.listener import Listener
from nfp.process.registry import load_modules
from tests.functional.process.pools import GROUP, PoolCase

SOURCE = Path(__file__).parent / "thirdparty"


class ThirdPartyTests(PoolCase):
    """The package is really installed, into a folder that is put on the path."""

    def setUp(self) -> None:
        """Install it; the sources are copied, for setuptools builds beside them."""
        super().setUp()
        building = tempfile.TemporaryDirectory(prefix="nfp-third-party-")
        self.addCleanup(building.cleanup)
        source = Path(building.name) / "source"
        shutil.copytree(SOURCE, source)
        self.target = Path(building.name) / "target"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        offline = ["--no-index", "--no-build-isolation", "--no-deps"]
        subprocess.run([*pip, *offline, f"--target={self.target}", str(source)], check=True, timeout=60)
        for folder in (str(self.site), str(self.target)):
            sys.path.append(folder)
            self.addCleanup(sys.path.remove, folder)

    def environ(self) -> dict[str, str]:
        """The workers find it too."""
        environ = super().environ()
        return {**environ, "PYTHONPATH": os.pathsep.join((environ["PYTHONPATH"], str(self.target)))}

    async def test_its_method_is_served_and_its_event_runs_in_a_worker(self) -> None:
        settings: Mapping[str, str] = {"folder": str(self.folder)}
        modules = load_modules(GROUP, settings)
        self.assertEqual([module.name for module in modules], ["acme", "behaviour"])
        pool = await self.started(2)
        listener = Listener(pool, modules)
        answer = await listener.handle("acme_greet", {"whom": "you"}, {"is_call": True}, {})
        assert isinstance(answer, dict)
        self.assertEqual(answer["greeting"], "hello you")
        self.assertIn(answer["pid"], [worker["pid"] for worker in pool.stats()])
        ours = await listener.handle("perform", {"do": "answer", "n": 1}, {"is_call": True}, {})
        self.assertEqual(ours["n"], 1)  # type: ignore[index]

    async def test_its_schema_is_checked_by_our_listener(self) -> None:
        listener = Listener(self.pool(), load_modules(GROUP, {"folder": str(self.folder)}))
        with self.assertRaises(Invalid) as caught:
            await listener.handle("acme_greet", {"whom": 3}, {"is_call": True}, {})
        self.assertEqual(caught.exception.field, "whom")
