"""What is installed from the wheel, and from a clone, works where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import nfp

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ("nfp-manager", "nfp-configurator", "nfp-agent", "nfp-proxy", "nfp-device")
PIP = (sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check")
OFFLINE = ("--no-index", "--no-build-isolation", "--no-deps")
SECONDS = 120.0

WITHOUT_CHECKOUT = f"""
import os, sys
sys.path[:] = [path for path in sys.path if os.path.realpath(path) != {os.path.realpath(ROOT)!r}]
"""
"""Run first: the environment of the tests may have the checkout itself installed, as developers do."""

ENDED: list[tempfile.TemporaryDirectory[str]] = []
"""Directories that live as long as this module; removed when the interpreter ends."""


def run(*command: str, cwd: Path, python_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a place of its own; our checkout is on no path."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NFP_CONFIG")}
    if python_path is not None:
        environ["PYTHONPATH"] = str(python_path)
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def must(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said that has to succeed."""
    if done.returncode != 0:
        raise AssertionError(f"{done.args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@lru_cache(maxsize=1)
def scratch() -> Path:
    """A directory outside of the checkout."""
    made = tempfile.TemporaryDirectory(prefix="nfp-install-")
    ENDED.append(made)
    return Path(made.name)


@lru_cache(maxsize=1)
def clone() -> Path:
    """What a clean clone has: the files that git knows, as they are here, and nothing that was built."""
    there = scratch() / "clone"
    listed = must(run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT))
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, there / name)
    return there


@lru_cache(maxsize=1)
def wheel() -> Path:
    """The wheel built from the clone."""
    to = scratch() / "wheel"
    must(run(*PIP, "wheel", *OFFLINE, f"--wheel-dir={to}", str(clone()), cwd=scratch()))
    (built,) = to.glob("nfp-*.whl")
    return built


class Installed(SynchronousTestCase):
    """What holds for each way to install; the subclasses say which.

    The installation is a directory that comes before everything else on the path; the libraries come
    from this interpreter's environment, so nothing is downloaded.
    """

    target: Path

    def setUp(self) -> None:
        """Stand in an empty directory."""
        self.here = Path(self.mktemp())
        self.here.mkdir(parents=True)

    def python(self, program: str, *arguments: str) -> str:
        """Run a program with the installation, and without the checkout."""
        command = (sys.executable, "-c", WITHOUT_CHECKOUT + program, *arguments)
        return must(run(*command, cwd=self.here, python_path=self.target))

    def nfp(self, *arguments: str) -> str:
        """Run the command ``nfp`` as it was installed."""
        script = str(self.target / "bin" / "nfp")
        program = f"import runpy\nsys.argv[0] = {script!r}\nrunpy.run_path({script!r}, run_name='__main__')"
        return self.python(program, *arguments)

    def test_it_is_the_installation_that_is_imported(self) -> None:
        found = self.python("import nfp; print(nfp.__file__)").strip()
        self.assertEqual(Path(found).resolve(), (self.target / "nfp" / "__init__.py").resolve())

    def test_twistd_lists_every_process(self) -> None:
        said = self.python("from twisted.scripts.twistd import run; run()", "--help")
        self.assertEqual([name for name in PLUGINS if f" {name} " not in said], [])

    def test_the_command_helps_and_knows_its_version(self) -> None:
        said = self.nfp("--help")
        for words in ("service create", "lab attach", "pki init", "database upgrade", "  up "):
            self.assertIn(words, said)
        self.assertIn(nfp.__version__, self.nfp("--version"))

    def test_migrations_are_found_inside_and_make_a_database(self) -> None:
        made = self.python(
            "from nfp.manager.store import migrate\n"
            "url = 'sqlite:///made.db'\n"
            "migrate.upgrade(url)\n"
            "migrate.check(url)\n"
            "print(migrate._folder())",
        )
        self.assertEqual(Path(made.strip()).resolve(), (self.target / "nfp" / "migrations").resolve())

    def test_every_entry_point_of_ours_can_be_loaded_from_it(self) -> None:
        self.python(
            "from importlib.metadata import entry_points\n"
            "groups = ('manager_modules', 'configurator_modules', 'lifecycle_drivers', 'vendor_drivers', "
            "'commands')\n"
            "found = [point for group in groups for point in entry_points(group=f'nfp.{group}')]\n"
            "assert len(found) >= 11, found\n"
            "[point.load() for point in found if point.value.startswith('nfp.')]",
        )

    def test_files_beside_the_code_come_along(self) -> None:
        for name in ("nfp/py.typed", "nfp/rpc/amqp/amqp0-9-1.xml", "nfp/migrations/script.py.mako"):
            self.assertTrue((self.target / name).is_file(), name)


class FromWheel(Installed):
    """Installed from the wheel."""

    def setUp(self) -> None:
        super().setUp()
        self.target = scratch() / "from-wheel"
        if not self.target.exists():
            must(run(*PIP, "install", *OFFLINE, f"--target={self.target}", str(wheel()), cwd=scratch()))

    def test_the_wheel_hides_no_library_and_ships_no_tests(self) -> None:
        names = zipfile.ZipFile(wheel()).namelist()
        self.assertIn("twisted/plugins/nfp_plugins.py", names)
        forbidden = ("twisted/__init__.py", "twisted/plugins/__init__.py", "tests/", "tools/", "alembic/")
        self.assertEqual([name for name in names if name.startswith(forbidden)], [])


class FromClone(Installed):
    """Installed by ``pip install .`` in a clone."""

    def setUp(self) -> None:
        super().setUp()
        self.target = scratch() / "from-clone"
        if not self.target.exists():
            must(run(*PIP, "install", *OFFLINE, f"--target={self.target}", ".", cwd=clone()))


del Installed  # a base only: nothing is installed for it
