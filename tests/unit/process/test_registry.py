"""What is wrong with a registered thing is said clearly."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nfp.process.registry import Broken, Claimed, Unknown, WrongInterface, load_modules, merged, names
from tests.unit.process.modules import Plain

GROUP = "nfp.unit_test_modules"
HERE = "tests.unit.process.modules"


class RegistryTests(SynchronousTestCase):
    """Entry points in a folder of the test."""

    def register(self, package: str, **points: str) -> None:
        """Make a package known that registers *points*."""
        site = Path(self.mktemp()).absolute()
        folder = site / f"{package}-1.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (folder / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
        sys.path.insert(0, str(site))
        self.addCleanup(sys.path.remove, str(site))

    def test_all_that_is_registered_is_made_from_the_settings_in_order_of_name(self) -> None:
        self.register("one", b=f"{HERE}:good")
        self.register("two", a=f"{HERE}:Plain")
        self.assertEqual(names(GROUP), ["a", "b"])
        modules = load_modules(GROUP, "settings")
        self.assertEqual([module.name for module in modules], ["settings", "good-settings"])

    def test_or_only_what_is_wanted(self) -> None:
        self.register("one", b=f"{HERE}:good", bad=f"{HERE}:failing")
        self.assertEqual(len(load_modules(GROUP, "x", ["b", "b"])), 1)

    def test_an_unknown_name_is_told_with_those_that_are_known(self) -> None:
        self.register("one", b=f"{HERE}:good")
        error = self.assertRaises(Unknown, load_modules, GROUP, "x", ["c"])
        self.assertEqual(str(error), f"{GROUP}: 'c' is not known; there is: b")

    def test_a_broken_one_is_told_with_its_reason(self) -> None:
        self.register("one", a=f"{HERE}:failing", b="nowhere:x", c=f"{HERE}:missing")
        for name, reason in (("a", "no licence"), ("b", "No module named"), ("c", "missing")):
            error = self.assertRaises(Broken, load_modules, GROUP, "x", [name])
            self.assertIn(f"'{name}'", str(error))
            self.assertIn(reason, str(error))
            self.assertIsNotNone(error.__cause__)

    def test_the_wrong_interface_is_told(self) -> None:
        self.register("one", a=f"{HERE}:other", b=f"{HERE}:Half")
        self.assertIn("IModule", str(self.assertRaises(WrongInterface, load_modules, GROUP, "x", ["a"])))
        self.assertIn("rpc_handlers", str(self.assertRaises(WrongInterface, load_modules, GROUP, "x", ["b"])))

    def test_two_modules_with_one_method_stop_the_start(self) -> None:
        self.register("one", a=f"{HERE}:good", b=f"{HERE}:rival")
        error = self.assertRaises(Claimed, load_modules, GROUP, "x")
        self.assertEqual(str(error), "RPC method 'hello' is claimed by 'good-x' and by 'rival'")

    def test_two_packages_with_one_name_stop_the_start(self) -> None:
        self.register("one", a=f"{HERE}:good")
        self.register("two", a=f"{HERE}:rival")
        self.assertIn("claimed", str(self.assertRaises(Claimed, load_modules, GROUP, "x")))

    def test_two_modules_with_one_name_stop_the_start(self) -> None:
        self.register("one", a=f"{HERE}:Plain", b=f"{HERE}:Plain")
        self.assertIn("module name 'x'", str(self.assertRaises(Claimed, load_modules, GROUP, "x")))

    def test_tables_are_put_together(self) -> None:
        one, two = Plain("one"), Plain("two")
        self.assertEqual(merged("event", [(one, {"a": 1}), (two, {"b": 2})]), {"a": 1, "b": 2})
        self.assertRaises(Claimed, merged, "event", [(one, {"a": 1}), (two, {"a": 2})])
