"""Lifecycle drivers by name, and three ways not to get one."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from nfp.manager.interfaces import ILifeCycleDriver
from nfp.manager.lifecycle.registry import GROUP, BrokenDriver, UnknownDriver, WrongInterface, load

HERE = "tests.unit.lifecycle.test_registry"


class Half:
    """Says that it is a driver, and has one method of ten."""

    name = "half"

    def __init__(self) -> None:
        directlyProvides(self, ILifeCycleDriver)

    def create_nsd(self, nsd: object) -> None:
        """Do nothing."""


def make_half(files: object) -> Half:
    return Half()


def make_none(files: object) -> object:
    return object()


def refuse(files: object) -> object:
    raise ValueError(f"nothing good in {files}")


def entry(name: str, function: str) -> EntryPoint:
    return EntryPoint(name, f"{HERE}:{function}", GROUP)


class LoadTests(SynchronousTestCase):
    """What an operator reads when a driver cannot be had."""

    def test_an_unknown_name_tells_which_are_known(self) -> None:
        error = self.assertRaises(
            UnknownDriver, load, "openstak", [], [entry("openstack", "refuse"), entry("namespace", "refuse")]
        )
        self.assertIn("'openstak'", str(error))
        self.assertIn("namespace, openstack", str(error))

    def test_one_that_cannot_be_imported_is_broken(self) -> None:
        error = self.assertRaises(
            BrokenDriver, load, "x", [], [EntryPoint("x", "no.such.module:make", GROUP)]
        )
        self.assertIn("ModuleNotFoundError", str(error))

    def test_one_that_refuses_its_configuration_is_broken(self) -> None:
        error = self.assertRaises(BrokenDriver, load, "x", ["a.conf"], [entry("x", "refuse")])
        self.assertIn("nothing good in ['a.conf']", str(error))

    def test_a_name_offered_twice_is_broken(self) -> None:
        error = self.assertRaises(
            BrokenDriver, load, "x", [], [entry("x", "make_half"), entry("x", "refuse")]
        )
        self.assertIn("more than once", str(error))

    def test_one_without_the_methods_has_the_wrong_interface(self) -> None:
        for function in ("make_half", "make_none"):
            self.assertRaises(WrongInterface, load, "x", [], [entry("x", function)])

    def test_the_installed_one_is_found(self) -> None:
        error = self.assertRaises(BrokenDriver, load, "namespace", [])
        self.assertIn("[namespace] fabric: is required", str(error), "it was made, and asked for its section")
