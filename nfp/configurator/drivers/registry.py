"""Finds the driver for a service type and a vendor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from twisted.logger import Logger
from zope.interface import Interface
from zope.interface.exceptions import Invalid as NotProvided
from zope.interface.verify import verifyObject

from nfp.configurator.interfaces import DRIVER_API, IDeviceDriver, IFirewallDriver
from nfp.model.errors import Permanent
from nfp.model.states import ServiceType

GROUP = "nfp.vendor_drivers"

CONTRACTS: Mapping[str, type[Interface]] = {ServiceType.FIREWALL: IFirewallDriver}
"""What a driver must provide for a service type; for any other it is :class:`IDeviceDriver`."""


class UnknownDriver(Permanent):
    """Nobody has installed a driver for that vendor and service type."""

    code = "UnknownDriver"


class BrokenDriver(Permanent):
    """The driver is installed and cannot be loaded."""

    code = "BrokenDriver"


class WrongDriver(Permanent):
    """The driver was loaded and does not keep its contract."""

    code = "WrongDriver"


class DriverRegistry:
    """The vendors' drivers, each loaded when it is first asked for.

    :param settings: the configurator's settings, handed to each driver.
    :param reactor: handed to each driver.
    :param found: where drivers come from; by default the installed packages.
    """

    log = Logger()

    def __init__(self, settings: object, reactor: Any, found: Iterable[EntryPoint] | None = None) -> None:
        self._settings = settings
        self._reactor = reactor
        self._found = tuple(entry_points(group=GROUP) if found is None else found)
        self._made: dict[EntryPoint, Any] = {}

    @property
    def vendors(self) -> frozenset[str]:
        """The vendors that have a driver, whether or not it works."""
        return frozenset(_vendor(point) for point in self._found)

    def get(self, service_type: str, vendor: str) -> Any:
        """Give the driver that serves *service_type* on devices of *vendor*.

        :raises UnknownDriver: there is none.
        :raises BrokenDriver: there is one that cannot be loaded.
        :raises WrongDriver: there is one that does not keep the contract of that service type.
        """
        points = [point for point in self._found if _vendor(point) == vendor]
        if not points:
            known = ", ".join(sorted(self.vendors)) or "none"
            raise UnknownDriver(f"no driver for vendor {vendor!r} is installed (there are: {known})")
        served: set[str] = set()
        for point in points:
            driver = self._load(point)
            types = frozenset(driver.service_types)
            if service_type in types:
                return self._verified(point, driver, CONTRACTS.get(service_type, IDeviceDriver))
            served |= types
        raise UnknownDriver(
            f"the driver for vendor {vendor!r} serves {', '.join(sorted(served))}, not {service_type!r}"
        )

    def _load(self, point: EntryPoint) -> Any:
        if point in self._made:
            return self._made[point]
        try:
            driver = point.load()(self._settings, self._reactor)
        except Exception as error:
            self.log.failure("driver {driver} cannot be loaded", driver=point.name)
            raise BrokenDriver(
                f"driver {point.name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        api = getattr(driver, "DRIVER_API", None)
        if api != DRIVER_API:
            raise WrongDriver(
                f"driver {point.name} ({point.value}) is written for DRIVER_API {api}, this is {DRIVER_API}"
            )
        self._made[point] = self._verified(point, driver, IDeviceDriver)
        return driver

    def _verified(self, point: EntryPoint, driver: Any, contract: type[Interface]) -> Any:
        try:
            verifyObject(contract, driver)
        except NotProvided as error:
            raise WrongDriver(f"driver {point.name} ({point.value}): {error}") from error
        return driver


def _vendor(point: EntryPoint) -> str:
    return point.name.partition(".")[0]
