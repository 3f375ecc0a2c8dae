"""Finds what third parties (and we) register by entry point, and says clearly what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, cast

from zope.interface.exceptions import Invalid as NotProvided
from zope.interface.interfaces import IInterface
from zope.interface.verify import verifyObject

from nfp.process.interfaces import IModule, RpcHandler

T = TypeVar("T")


class RegistryError(Exception):
    """A registered thing cannot be used; the process must not start."""


class Unknown(RegistryError):
    """Nothing is registered under that name."""


class Broken(RegistryError):
    """It is registered, but loading or making it failed."""


class WrongInterface(RegistryError):
    """It was made, but is not what the group wants."""


class Claimed(RegistryError):
    """Two of them claim one name."""


def names(group: str) -> list[str]:
    """What is registered in *group*, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def make(group: str, name: str, interface: IInterface, *arguments: object) -> Any:
    """Make one registered thing.

    :param group: the entry point group.
    :param interface: what the result must provide.
    :param arguments: handed to the registered factory.
    :raises Unknown: nobody registered *name*.
    :raises Claimed: two packages registered it.
    :raises Broken: its import or its factory failed; the cause is the failure's.
    :raises WrongInterface: the result does not provide *interface*.
    """
    found = sorted(
        {(point.value, point) for point in entry_points(group=group, name=name)}, key=lambda f: f[0]
    )
    if not found:
        known = ", ".join(names(group)) or "nothing"
        raise Unknown(f"{group}: {name!r} is not known; there is: {known}")
    if len(found) > 1:
        raise Claimed(f"{group}: {name!r} is claimed by {' and by '.join(value for value, _ in found)}")
    [(value, point)] = found
    made = _made(group, point, arguments)
    try:
        verifyObject(interface, made)
    except NotProvided as error:
        text = " ".join(str(error).split())
        raise WrongInterface(f"{group}: {name!r} ({value}) is not an {interface.__name__}: {text}") from None
    return made


def _made(group: str, point: EntryPoint, arguments: Sequence[object]) -> object:
    try:
        return point.load()(*arguments)
    except Exception as error:
        raise Broken(
            f"{group}: {point.name!r} ({point.value}) is broken: {type(error).__name__}: {error}"
        ) from error


def load_modules(group: str, settings: object, wanted: Sequence[str] | None = None) -> list[IModule]:
    """Make the modules of a component, in the listener and in each worker alike.

    :param group: ``nfp.manager_modules`` or ``nfp.configurator_modules``.
    :param settings: the component's configuration, handed to each factory.
    :param wanted: the modules to load; ``None``: all that are registered.
    :raises RegistryError: as :func:`make`, or two modules claim one name or RPC method.
    """
    chosen = names(group) if wanted is None else list(dict.fromkeys(wanted))
    modules: list[IModule] = [make(group, name, cast("IInterface", IModule), settings) for name in chosen]
    merged("module name", ((module, {module.name: module}) for module in modules))
    methods_of(modules)
    return modules


def methods_of(modules: Iterable[IModule]) -> dict[str, RpcHandler]:
    """All RPC methods of *modules*.

    :raises Claimed: two modules have one.
    """
    return merged("RPC method", ((module, module.rpc_handlers()) for module in modules))


def merged(what: str, parts: Iterable[tuple[IModule, Mapping[str, T]]]) -> dict[str, T]:
    """Put the tables of several modules into one.

    :param what: what the names are, for the error.
    :raises Claimed: two modules have one name.
    """
    owners: dict[str, str] = {}
    everything: dict[str, T] = {}
    for module, part in parts:
        for name, value in part.items():
            if name in owners:
                raise Claimed(f"{what} {name!r} is claimed by {owners[name]!r} and by {module.name!r}")
            owners[name] = module.name
            everything[name] = value
    return everything
