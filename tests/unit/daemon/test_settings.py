"""INI files become settings, or a list of all that is wrong with them."""

from __future__ import annotations

from pathlib import Path

from oslo_config import cfg
from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon.settings import SettingsError, load

GROUPS = {
    "DEFAULT": [cfg.StrOpt("host", default="here"), cfg.StrOpt("transport_url", secret=True)],
    "manager": [
        cfg.IntOpt("workers", default=2, min=1),
        cfg.ListOpt("modules"),
        cfg.StrOpt("name", required=True),
    ],
    "proxy": [cfg.PortOpt("port", default=1), cfg.IntOpt("key", secret=True)],
}


class LoadTests(SynchronousTestCase):
    """What :func:`load` reads."""

    def file(self, text: str) -> str:
        """Write a file of that text."""
        path = self.mktemp()
        Path(path).write_text(text)
        return path

    def problems(self, *files: str) -> tuple[str, ...]:
        """What is wrong with *files*."""
        return self.assertRaises(SettingsError, load, files, GROUPS).problems

    def test_later_files_win_and_the_rest_has_defaults(self) -> None:
        one = self.file("[DEFAULT]\nhost = a\n[manager]\nname = n\nworkers = 3\n")
        two = self.file("[manager]\nworkers = 4\nmodules = x, y\n")
        config = load([one, two], GROUPS)
        self.assertEqual((config.host, config.manager.workers, config.manager.modules), ("a", 4, ["x", "y"]))
        self.assertEqual(config.proxy.port, 1)

    def test_each_load_has_a_registry_of_its_own(self) -> None:
        load([self.file("[manager]\nname = n\n")], GROUPS)
        self.assertRaises(cfg.NoSuchOptError, getattr, cfg.CONF, "transport_url")
        self.assertEqual(load([self.file("[other]\nx=1\n")], {"other": [cfg.IntOpt("x")]}).other.x, 1)

    def test_options_of_other_components_are_left_alone(self) -> None:
        self.assertEqual(
            load([self.file("[manager]\nname=n\n[agent]\nthing = 1\n")], GROUPS).manager.name, "n"
        )

    def test_every_problem_is_told_with_section_and_option(self) -> None:
        file = self.file("[manager]\nworkers = 0\n[proxy]\nport = many\n")
        self.assertEqual(
            self.problems(file),
            (
                "[manager] workers: Should be greater than or equal to 1",
                "[manager] name: is required",
                "[proxy] port: invalid literal for int() with base 10: 'many'",
            ),
        )

    def test_a_bad_secret_is_not_repeated(self) -> None:
        file = self.file("[manager]\nname=n\n[proxy]\nkey = hunter2\n")
        self.assertEqual(self.problems(file), ("[proxy] key: not a valid value",))

    def test_files_that_cannot_be_read_are_all_named(self) -> None:
        missing, folder = self.mktemp(), self.mktemp()
        Path(folder).mkdir()
        binary = self.mktemp()
        Path(binary).write_bytes(b"[a]\nb=\xff\n")
        self.assertEqual(
            self.problems(missing, folder, binary),
            (
                f"{missing}: No such file or directory",
                f"{folder}: Is a directory",
                f"{binary}: not UTF-8 text at byte 6",
            ),
        )

    def test_a_file_that_cannot_be_parsed_is_named_with_its_line_but_not_its_text(self) -> None:
        file = self.file("[manager]\nname=n\npassword hunter2\n")
        [problem] = self.problems(file)
        self.assertTrue(problem.endswith(":3: No ':' or '=' found in assignment"), problem)

    def test_the_environment_is_not_read(self) -> None:
        self.patch(__import__("os"), "environ", {"OS_MANAGER__NAME": "from outside"})
        self.assertEqual(self.problems(self.file("")), ("[manager] name: is required",))
