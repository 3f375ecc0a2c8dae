"""What every lifecycle driver must do, as tests: make a suite for yours and run it.

A driver's author writes::

    from nfp.testing.lifecycle_contract import make_lifecycle_tests

    def make(case):
        driver = ...            # plain blocking, as the entry point gives it
        case.addCleanup(...)
        return driver

    class MyDriverContract(make_lifecycle_tests(make)):
        pass

The suite blocks: it calls the plain driver, not the form that threads make of it.  It makes real
devices where the driver makes real ones, and removes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from unittest import TestCase

from zope.interface.verify import verifyObject

from nfp.manager.interfaces import IDeviceInventory, ILifeCycleDriver
from nfp.model.devices import CONSUMER, PROVIDER, NetworkServiceSpec, Nsd, Port, Route
from nfp.model.digest import digest
from nfp.model.requests import tree_of
from nfp.model.states import BackendStatus, ServiceType

MakeDriver = Callable[[TestCase], Any]

FIREWALL = {
    "firewall": {
        "rules": [
            {
                "id": None,
                "name": "web",
                "protocol": "tcp",
                "ip_version": 4,
                "source_ip_address": None,
                "destination_ip_address": None,
                "source_port": None,
                "destination_port": "80",
                "action": "allow",
                "enabled": True,
            }
        ],
        "default_action": "deny",
        "admin_state_up": True,
    }
}


def device(ports: Sequence[Port]) -> Nsd:
    """A device that no other test has."""
    return Nsd(
        id=str(uuid.uuid4()),
        tenant_id="contract",
        deployment=f"contract-{uuid.uuid4().hex[:6]}",
        service_vendor="contract",
        service_types=(ServiceType.FIREWALL,),
        ports=tuple(ports),
        routes=(Route("0.0.0.0/0", "10.9.1.1"),),
    )


def port(classification: str, address: str, number: int) -> Port:
    """A port on a network that no other test has."""
    return Port(
        id=str(uuid.uuid4()),
        backend_id=str(uuid.uuid4()),
        network_id=str(uuid.uuid4()),
        classification=classification,
        mac_address=f"fa:16:3e:0a:0b:{number:02x}",
        addresses=(address,),
    )


def gateway_ports() -> tuple[Port, Port]:
    """The two ports of a gateway."""
    return port(PROVIDER, "10.9.0.1/24", 1), port(CONSUMER, "10.9.1.7/28", 2)


def service(ports: Sequence[Port], service_type: str = ServiceType.FIREWALL) -> NetworkServiceSpec:
    """A service that would run on a device with those ports."""
    return NetworkServiceSpec(
        id=str(uuid.uuid4()),
        tenant_id="contract",
        service_type=service_type,
        service_vendor="contract",
        config=FIREWALL,
        ports=tuple(ports),
        service_chain_id=str(uuid.uuid4()),
        provider_cidrs=("10.9.0.0/24",),
        consumer_cidrs=("10.9.1.0/28",),
    )


def _has_inventory(driver: object) -> bool:
    return bool(IDeviceInventory.providedBy(driver))


class LifeCycleContract(TestCase):
    """The ten methods, repeated, out of order, and after what a crash leaves."""

    make_driver: ClassVar[MakeDriver]

    def setUp(self) -> None:
        """A driver for each test."""
        self.driver: Any = type(self).make_driver(self)

    def made(self, ports: Sequence[Port]) -> Nsd:
        """A device that is there, as the manager would know it; gone after the test."""
        wanted = device(ports)
        self.addCleanup(self.driver.delete_nsd, wanted)
        created = self.driver.create_nsd(wanted)
        return replace(wanted, backend_id=created.backend_id, management_address=created.management_address)

    def test_provides_its_interfaces(self) -> None:
        """It says what it is."""
        verifyObject(ILifeCycleDriver, self.driver)
        self.assertTrue(self.driver.name)

    def test_a_device_that_was_made_is_active_and_has_an_address(self) -> None:
        """create_nsd, then get_nsd_status."""
        known = self.made(gateway_ports())
        self.assertTrue(known.backend_id)
        self.assertTrue(known.management_address)
        status = self.driver.get_nsd_status(known)
        self.assertEqual(status.status, BackendStatus.ACTIVE, status.reason)

    def test_to_create_again_gives_the_same_device(self) -> None:
        """A repeat after a crash, by a manager that has not stored the first answer."""
        known = self.made(gateway_ports())
        again = self.driver.create_nsd(replace(known, backend_id=None, management_address=None))
        self.assertEqual(again.backend_id, known.backend_id)
        self.assertEqual(again.management_address, known.management_address)

    def test_two_devices_are_two(self) -> None:
        """Nothing is shared by accident."""
        one, other = self.made(gateway_ports()), self.made(gateway_ports())
        self.assertNotEqual(one.backend_id, other.backend_id)
        self.assertNotEqual(one.management_address, other.management_address)

    def test_a_device_that_never_was_is_gone_and_can_be_deleted(self) -> None:
        """Undo of a create that did nothing yet."""
        never = device(gateway_ports())
        self.assertEqual(self.driver.get_nsd_status(never).status, BackendStatus.GONE)
        self.assertIsNone(self.driver.delete_nsd(never))

    def test_a_deleted_device_is_gone_and_deleting_again_is_success(self) -> None:
        """delete_nsd returns when it is gone."""
        known = self.made(gateway_ports())
        self.driver.delete_nsd(known)
        self.assertEqual(self.driver.get_nsd_status(known).status, BackendStatus.GONE)
        self.assertIsNone(self.driver.delete_nsd(known))

    def test_a_device_can_be_made_again_at_once_after_its_end(self) -> None:
        """Healing by replacement."""
        known = self.made(gateway_ports())
        self.driver.delete_nsd(known)
        self.driver.create_nsd(known)
        self.assertEqual(self.driver.get_nsd_status(known).status, BackendStatus.ACTIVE)

    def test_every_port_is_plugged_once_with_its_own_mac_and_addresses(self) -> None:
        """By create_nsd or by plug_nsd_interface; a repeat gives the same interface."""
        ports = gateway_ports()
        known = self.made(ports)
        first = [self.driver.plug_nsd_interface(known, one) for one in ports]
        again = [self.driver.plug_nsd_interface(known, one) for one in reversed(ports)]
        self.assertEqual(first, list(reversed(again)))
        self.assertEqual([one.port_id for one in first], [one.id for one in ports])
        self.assertEqual([one.mac_address for one in first], [one.mac_address for one in ports])
        self.assertEqual([one.addresses for one in first], [one.addresses for one in ports])
        self.assertEqual(len({one.name for one in first}), len(ports))

    def test_a_third_port_leaves_the_others_as_they_are(self) -> None:
        """Hot plug."""
        ports = gateway_ports()
        known = self.made(ports)
        before = [self.driver.plug_nsd_interface(known, one) for one in ports]
        third = self.driver.plug_nsd_interface(known, port(PROVIDER, "10.9.2.1/24", 3))
        after = [self.driver.plug_nsd_interface(known, one) for one in ports]
        self.assertEqual(before, after)
        self.assertNotIn(third.name, [one.name for one in before])

    def test_an_unplugged_port_can_be_unplugged_again_and_plugged_again(self) -> None:
        """Also one that never was plugged."""
        ports = gateway_ports()
        known = self.made(ports)
        for _ in range(2):
            self.assertIsNone(self.driver.unplug_nsd_interface(known, ports[1]))
        self.assertIsNone(self.driver.unplug_nsd_interface(known, port(PROVIDER, "10.9.3.1/24", 4)))
        plugged = self.driver.plug_nsd_interface(known, ports[1])
        self.assertEqual(plugged.mac_address, ports[1].mac_address)

    def test_gateways_with_one_provider_port_in_one_chain_share_a_device(self) -> None:
        """Equal keys for them, different ones for others."""
        spec = service(gateway_ports())
        sharing = self.driver.get_nsd_sharing_info(spec)
        if not sharing.shareable:
            self.assertIsNone(sharing.sharing_key)
            return
        twin = replace(spec, id=str(uuid.uuid4()))
        self.assertEqual(self.driver.get_nsd_sharing_info(twin).sharing_key, sharing.sharing_key)
        stranger = service(gateway_ports())
        self.assertNotEqual(self.driver.get_nsd_sharing_info(stranger).sharing_key, sharing.sharing_key)
        self.assertGreaterEqual(sharing.services, 2)
        self.assertGreaterEqual(sharing.interfaces, 2)

    def test_select_chooses_among_the_candidates_or_none(self) -> None:
        """It invents no device."""
        spec, candidate = service(gateway_ports()), device(gateway_ports())
        self.assertIsNone(self.driver.select_nsd(spec, []))
        self.assertIn(self.driver.select_nsd(spec, [candidate]), (None, candidate))

    def test_the_healthcheck_is_aimed_at_the_management_address(self) -> None:
        """With intervals that make sense."""
        known = self.made(gateway_ports())
        check = self.driver.get_nsd_healthcheck_info(known)
        self.assertEqual(check.address, known.management_address)
        self.assertTrue(0 < check.port < 65536)
        self.assertGreater(check.interval, 0)
        self.assertGreater(check.timeout, 0)
        self.assertGreaterEqual(check.fall, 1)
        self.assertGreaterEqual(check.rise, 1)

    def test_the_configuration_names_every_interface_with_its_role(self) -> None:
        """Resources interfaces and routes; equal input gives an equal digest."""
        ports = gateway_ports()
        known = self.made(ports)
        plugged = [self.driver.plug_nsd_interface(known, one) for one in ports]
        tree = tree_of(self.driver.get_nsd_config_info(known, plugged))
        told: Any = tree["interfaces"]
        self.assertEqual([one["port_id"] for one in told], [one.id for one in ports])
        self.assertEqual([one["role"] for one in told], [PROVIDER, CONSUMER])
        self.assertEqual([one["mac"] for one in told], [one.mac_address for one in plugged])
        self.assertEqual(tree["routes"], [{"destination": "0.0.0.0/0", "nexthop": "10.9.1.1"}])
        again = tree_of(self.driver.get_nsd_config_info(known, plugged))
        self.assertEqual(digest(again), digest(tree))

    def test_the_service_configuration_carries_the_whole_tree_and_both_sides(self) -> None:
        """One resource, the service's own tree in it."""
        ports = gateway_ports()
        known, spec = self.made(ports), service(ports)
        plugged = [self.driver.plug_nsd_interface(known, one) for one in ports]
        (item,) = self.driver.get_network_service_config_info(spec, known, plugged)
        self.assertEqual(item["resource"], "firewall")
        tree: Any = item["resource_data"]
        self.assertEqual(tree["firewall"], FIREWALL["firewall"])
        self.assertEqual(tree["provider"], {"mac": ports[0].mac_address, "cidrs": ["10.9.0.0/24"]})
        self.assertEqual(tree["consumer"], {"mac": ports[1].mac_address, "cidrs": ["10.9.1.0/28"]})

    def test_the_inventory_lists_what_is_there_by_our_id(self) -> None:
        """Where the driver has one; other deployments' devices are not in it."""
        if not _has_inventory(self.driver):
            return
        known = self.made(gateway_ports())
        self.assertEqual(self.driver.list_nsds(known.deployment), {known.id: known.backend_id})
        self.assertEqual(self.driver.list_nsds("contract-other"), {})
        self.driver.delete_nsd(known)
        self.assertEqual(self.driver.list_nsds(known.deployment), {})


def make_lifecycle_tests(make: MakeDriver) -> type[LifeCycleContract]:
    """Make the suite for a driver.

    :param make: gives a plain blocking driver for one test; cleans up by ``case.addCleanup``.
    """
    return type("LifeCycleContract", (LifeCycleContract,), {"make_driver": staticmethod(make)})
