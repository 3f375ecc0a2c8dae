"""Contracts of the manager: lifecycle drivers and the network directory (``contract.md`` section 7).

The methods promise awaitables; :func:`nfp.daemon.threads.in_threads` makes such an object
from a plain blocking class.  Every method may be repeated with the same arguments, also after
a crash in the middle of the last try, and must then give the same result.  Errors:
:class:`~nfp.model.errors.Transient` (try again), :class:`~nfp.model.errors.Permanent` (give up),
:class:`~nfp.model.errors.Waiting` (an outside condition is missing), each with a reason that an
operator can act on.  Anything else counts as ``Transient``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass

from zope.interface import Attribute, Interface

from nfp.model.devices import (
    CreatedNsd,
    Healthcheck,
    NetworkServiceSpec,
    Nsd,
    NsdStatus,
    PluggedInterface,
    Port,
    SharingInfo,
)

ConfigItem = Mapping[str, object]


class ILifeCycleDriver(Interface):
    """Makes, finds and removes the devices that network services run on; the blueprint's ten methods."""

    name = Attribute("the driver's name: its entry point in nfp.lifecycle_drivers")

    def create_nsd(nsd: Nsd) -> Awaitable[CreatedNsd]:
        """Make the device, or find what an earlier try made (by its marker).

        Data ports may be plugged here already; those that are not come later by
        :meth:`plug_nsd_interface`.
        """

    def delete_nsd(nsd: Nsd) -> Awaitable[None]:
        """Remove the device and those of its ports that we made; gone already is success."""

    def select_nsd(network_service: NetworkServiceSpec, candidates: Sequence[Nsd]) -> Awaitable[Nsd | None]:
        """Choose the device that *network_service* shall share.

        :param candidates: live devices that have room, oldest first; each equal in sharing key.
        :return: one of them, or ``None`` for a device of its own.
        """

    def get_nsd_status(nsd: Nsd) -> Awaitable[NsdStatus]:
        """Look at the device from outside.  ``GONE`` only when a successful look did not find it."""

    def plug_nsd_interface(nsd: Nsd, interface: Port) -> Awaitable[PluggedInterface]:
        """Give the device an interface on the port's network; traffic on the others goes on."""

    def unplug_nsd_interface(nsd: Nsd, interface: Port) -> Awaitable[None]:
        """Take the interface away; not plugged is success.  A given port itself stays (I9)."""

    def get_nsd_sharing_info(network_service: NetworkServiceSpec) -> Awaitable[SharingInfo]:
        """Say whether the device that would carry *network_service* may carry others too."""

    def get_nsd_healthcheck_info(nsd: Nsd) -> Awaitable[Healthcheck]:
        """Say how the device is to be watched."""

    def get_nsd_config_info(
        nsd: Nsd, interfaces: Sequence[PluggedInterface]
    ) -> Awaitable[Sequence[ConfigItem]]:
        """Give the ``config`` of ``create_nsd_config``: resources ``interfaces`` and ``routes``.

        :param interfaces: the data interfaces as the device sees them, in the order of ``nsd.ports``.
        """

    def get_network_service_config_info(
        network_service: NetworkServiceSpec, nsd: Nsd, interfaces: Sequence[PluggedInterface]
    ) -> Awaitable[Sequence[ConfigItem]]:
        """Give the ``config`` of ``create_network_service_config``: one resource, the service's tree."""


class IDeviceInventory(Interface):
    """Optional: what the orphan sweep needs of a lifecycle driver."""

    def list_nsds(deployment: str) -> Awaitable[Mapping[str, str]]:
        """Every device that bears a marker of *deployment*: our id → backend id."""


@dataclass(frozen=True)
class DirectoryPort:
    """A port as the directory knows it; addresses without prefix length."""

    id: str
    network_id: str
    mac_address: str
    addresses: tuple[str, ...]
    subnet_id: str | None = None


@dataclass(frozen=True)
class DirectorySubnet:
    """A subnet as the directory knows it."""

    id: str
    network_id: str
    cidr: str
    gateway_ip: str | None = None


class INetworkDirectory(Interface):
    """Turns ids into addresses: group notifications carry only ids.  Asked at converge, never in an RPC.

    Each method raises :class:`~nfp.model.errors.NotFound` for an id that is not known (yet) and
    :class:`~nfp.model.errors.Transient` when the directory cannot be asked.
    """

    def port(port_id: str) -> Awaitable[DirectoryPort]:
        """The port with that id."""

    def subnet(subnet_id: str) -> Awaitable[DirectorySubnet]:
        """The subnet with that id."""

    def group_members(group_id: str) -> Awaitable[Sequence[str]]:
        """Port ids of the policy targets in that group."""
