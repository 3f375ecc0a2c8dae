"""Contracts of the configurator: its modules, and vendors' drivers (``contract.md`` section 7).

A vendor's package names a driver by an entry point in ``nfp.vendor_drivers``: the vendor's name as
service profiles write it, or ``<vendor>.<anything>`` where one vendor has several.  It gives a
callable ``make(settings, reactor)`` that returns the driver.

The methods promise awaitables; ``nfp.daemon.threads.in_threads`` adapts a plain blocking class.
Each takes the **whole** state wanted, may be repeated, and reports what it reads back from the
device, never what it sent.  Errors: ``Transient``, ``Permanent``, ``Stale``, each with a reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from zope.interface import Attribute, Interface

from nfp.model.devices import DeviceAddress, DeviceRequest, Nsd
from nfp.model.secret import Secret
from nfp.process.interfaces import IModule

DRIVER_API = 1

EMITTED = "notification"
"""The name under which a module emits a notification that answers no request (a health status)."""


class IConfiguratorModule(IModule):
    """A module of the configurator that checks requests (entry points ``nfp.configurator_modules``).

    A plain :class:`~nfp.process.interfaces.IModule` is taken too: each of its RPC methods is a path
    ``POST /v1/nfp/<method>``, and what its handlers return is told if it is a notification.

    A module that serves a service type owns no RPC method: it has event handlers named
    ``create_network_service_config:<service type>`` and ``delete_network_service_config:<service type>``.
    An event's payload is ``{"args": body, …}``; the handler returns the notification that answers it,
    or ``None`` when there is nothing to say.
    """

    service_types = Attribute("the service types that it configures, as GBP spells them; may be empty")

    def check(operation: str, request: Mapping[str, object]) -> None:
        """Check in the listener, before the request is accepted, what the schema cannot; a plain call.

        Asked for its own RPC methods, and for the configuration of its service types.

        :param request: the body, of the right shape.
        :raises nfp.model.errors.Invalid: naming the field.
        """


class IDeviceDriver(Interface):
    """What every vendor's driver does, whatever the service."""

    DRIVER_API = Attribute("the version of these contracts that the driver was written for; checked at load")
    name = Attribute("the vendor's name as service profiles write it")
    service_types = Attribute("the service types that it serves, as GBP spells them")

    def capabilities() -> Mapping[str, object]:
        """What the device can do, for the operator and for placement."""

    def validate(config: Mapping[str, object]) -> Sequence[tuple[str, str]]:
        """Check a service configuration before a device is made; a plain call without I/O.

        :return: (field, reason) of everything that the device could not do; empty: fine.
        """

    def bootstrap(nsd: Nsd) -> Mapping[str, object]:
        """What a fresh device needs at its first start; a plain call without I/O.

        :return: ``{"user_data": text, "credentials": {name: Secret}}``, either may be missing; the
            credentials are stored encrypted.
        """

    def configure_interfaces(request: DeviceRequest) -> Awaitable[None]:
        """Make the device's interfaces equal to ``tree["interfaces"]``.

        Always followed by :meth:`configure_routes` with the same request; a device that takes both at
        once may leave all to that.

        :raises nfp.model.errors.Stale: the device has seen a higher order.
        """

    def configure_routes(request: DeviceRequest) -> Awaitable[str]:
        """Make the device's routes equal to ``tree["routes"]``, after its interfaces.

        :return: the digest read back, of interfaces and routes together.
        :raises nfp.model.errors.Stale: the device has seen a higher order.
        """

    def clear(request: DeviceRequest) -> Awaitable[None]:
        """Take interfaces and routes away again; none there is success."""

    def apply_license(request: DeviceRequest, key: Secret) -> Awaitable[None]:
        """Give the device its licence; one that it has already is success.

        :raises nfp.model.errors.Permanent: it needs none, or does not take this one.
        """

    def release_license(request: DeviceRequest) -> Awaitable[None]:
        """Take the licence back, so that another device may have it; none there is success."""

    def probe(device: DeviceAddress, level: str, timeout: float) -> Awaitable[None]:
        """Ask the device whether it is well.

        :param level: ``management``, ``config`` or ``service``.
        :param timeout: seconds.
        :raises nfp.model.errors.Transient: it is not, with the reason.
        """

    def read_back(device: DeviceAddress) -> Awaitable[Mapping[str, object]]:
        """What the device says that it runs: ``{"digest", "tree", "services": {id: {"digest"}}}``."""


class IFirewallDriver(IDeviceDriver):
    """A vendor's firewall."""

    def apply(request: DeviceRequest, service_id: str) -> Awaitable[str]:
        """Make the device's policy equal to ``tree``; all or nothing.

        :return: the digest read back.
        :raises nfp.model.errors.Stale: the device has seen a higher order.
        """

    def remove(request: DeviceRequest, service_id: str) -> Awaitable[None]:
        """Remove the service from the device; not there is success."""

    def status(device: DeviceAddress, service_id: str) -> Awaitable[Mapping[str, object]]:
        """State and counters: ``{"digest", "state", "counters": {name: {"packets", "bytes"}}}``."""


class ILoadBalancerDriver(IDeviceDriver):
    """A vendor's load balancer; ``tree`` is that of Octavia's single-call create."""

    def apply(request: DeviceRequest, service_id: str) -> Awaitable[str]:
        """Make the load balancer equal to ``tree``; as :meth:`IFirewallDriver.apply`."""

    def remove(request: DeviceRequest, service_id: str) -> Awaitable[None]:
        """Remove the service from the device; not there is success."""

    def status(device: DeviceAddress, service_id: str) -> Awaitable[Mapping[str, object]]:
        """State and counters, of the listeners and members too."""


class IVPNDriver(IDeviceDriver):
    """A vendor's VPN; ``tree`` holds IPsec site connections with their policies."""

    def apply(request: DeviceRequest, service_id: str) -> Awaitable[str]:
        """Make the connections equal to ``tree``; as :meth:`IFirewallDriver.apply`."""

    def remove(request: DeviceRequest, service_id: str) -> Awaitable[None]:
        """Remove the service from the device; not there is success."""

    def status(device: DeviceAddress, service_id: str) -> Awaitable[Mapping[str, object]]:
        """State and counters, of each connection."""
