"""Tests for how vendors' drivers are found."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nfp.configurator.drivers.nftables import NftablesDriver
from nfp.configurator.drivers.registry import (
    BrokenDriver,
    DriverRegistry,
    UnknownDriver,
    WrongDriver,
)
from nfp.model.errors import Permanent
from tests.unit.configurator.fakes import POINTS, Settings, point


class Registry(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = Settings()
        self.registry = DriverRegistry(self.settings, None, POINTS)

    def refuses(self, kind: type[Exception], vendor: str, expected: str, service: str = "FIREWALL") -> None:
        error = self.assertRaises(kind, self.registry.get, service, vendor)
        self.assertIsInstance(error, Permanent)
        self.assertIn(expected, str(error))

    def test_a_driver_is_chosen_by_service_type_and_vendor(self) -> None:
        self.assertIs(self.registry.get("FIREWALL", "memory"), self.settings.driver)

    def test_three_things_can_be_wrong_and_each_is_said(self) -> None:
        self.refuses(UnknownDriver, "nobody", "broken, memory, old, partial")
        self.refuses(UnknownDriver, "memory", "serves FIREWALL", "VPN")
        self.refuses(BrokenDriver, "broken", "no licence file")
        self.refuses(WrongDriver, "old", "DRIVER_API 99")
        self.refuses(WrongDriver, "partial", "IDeviceDriver")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_what_follows_a_dot_is_not_part_of_the_vendor(self) -> None:
        self.registry = DriverRegistry(self.settings, None, [point("memory.fw", "make")])
        self.assertIs(self.registry.get("FIREWALL", "memory"), self.settings.driver)
        self.assertEqual(self.registry.vendors, {"memory"})

    def test_a_missing_package_is_a_broken_driver(self) -> None:
        self.registry = DriverRegistry(self.settings, None, [point("gone", "no_such_function")])
        self.refuses(BrokenDriver, "gone", "no_such_function")
        self.flushLoggedErrors(AttributeError)

    def test_our_own_driver_is_installed_and_keeps_its_contract(self) -> None:
        registry = DriverRegistry(self.settings, None)
        self.assertIsInstance(registry.get("FIREWALL", "nftables"), NftablesDriver)
