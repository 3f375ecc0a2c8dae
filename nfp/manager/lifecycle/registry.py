"""Lifecycle drivers by name: entry points of the group ``nfp.lifecycle_drivers``.

An entry point is a function ``make(files) -> driver``: it is handed the configuration files, reads
the section of its own, and gives a **plain blocking** object that provides
:class:`~nfp.manager.interfaces.ILifeCycleDriver` (and
:class:`~nfp.manager.interfaces.IDeviceInventory`, if it can); the manager runs it in threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from zope.interface.exceptions import Invalid as WrongShape
from zope.interface.verify import verifyObject

from nfp.manager.interfaces import IDeviceInventory, ILifeCycleDriver

GROUP = "nfp.lifecycle_drivers"


class DriverError(Exception):
    """No driver; the manager cannot start."""


class UnknownDriver(DriverError):
    """No installed package offers a driver of that name."""


class BrokenDriver(DriverError):
    """The driver was found, and failed to load or to be made."""


class WrongInterface(DriverError):
    """The driver was made, and is not what a lifecycle driver must be."""


def load(name: str, files: Sequence[str], installed: Iterable[EntryPoint] | None = None) -> Any:
    """Make the driver called *name*.

    :param files: configuration files, for the driver to read its section from.
    :param installed: entry points to choose from; default: those of the installed packages.
    :return: the blocking driver.
    :raises UnknownDriver: nobody offers it.
    :raises BrokenDriver: it cannot be imported, or refuses its configuration.
    :raises WrongInterface: it does not provide what it must.
    """
    offered = list(entry_points(group=GROUP) if installed is None else installed)
    found = [entry for entry in offered if entry.name == name]
    if not found:
        known = ", ".join(sorted(entry.name for entry in offered)) or "none"
        raise UnknownDriver(f"no lifecycle driver {name!r} is installed; there are: {known}")
    if len(found) > 1:
        offers = ", ".join(sorted(entry.value for entry in found))
        raise BrokenDriver(f"lifecycle driver {name!r} is offered more than once: {offers}")
    try:
        driver = found[0].load()(files)
    except Exception as error:
        raise BrokenDriver(
            f"lifecycle driver {name!r} ({found[0].value}) failed: {type(error).__name__}: {error}"
        ) from error
    _verify(name, driver)
    return driver


def _verify(name: str, driver: object) -> None:
    try:
        verifyObject(ILifeCycleDriver, driver)
        if IDeviceInventory.providedBy(driver):
            verifyObject(IDeviceInventory, driver)
    except WrongShape as error:
        raise WrongInterface(f"lifecycle driver {name!r} does not fit: {error}") from error
