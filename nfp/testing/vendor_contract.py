"""The contract of vendors' drivers as tests, shipped for their authors.

A driver's own test module makes the suite with two factories and lets trial find it::

    class AcmeTests(firewall_driver_tests(make_driver, make_device)):
        timeout = 60

``make_driver(case)`` gives a driver; ``await make_device(case)`` a :class:`DeviceUnderTest`, fresh
for each test.  Both register what must be undone by ``case.addCleanup``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from nfp.configurator.interfaces import DRIVER_API, IFirewallDriver
from nfp.model.devices import DeviceAddress, DeviceRequest
from nfp.model.digest import digest
from nfp.model.errors import Invalid, NfpError, NotFound, Permanent, Stale, Transient
from nfp.model.firewall import normalise
from nfp.model.order import Order
from nfp.model.states import ServiceType

LEVELS = ("management", "config", "service")


@dataclass(frozen=True)
class DeviceUnderTest:
    """A device that the suite may do anything to.

    :ivar address: where it answers.
    :ivar gone: an address at which no device answers.
    :ivar networking: interfaces and routes that it can take: ``{"interfaces": […], "routes": […]}``.
    :ivar sides: the ``provider`` and ``consumer`` of a service on it.
    """

    address: DeviceAddress
    gone: DeviceAddress
    networking: Mapping[str, Any]
    sides: Mapping[str, Any]


MakeDriver = Callable[[TestCase], Any]
MakeDevice = Callable[[TestCase], Awaitable[DeviceUnderTest]]

ALLOW_WEB = {"name": "web", "protocol": "tcp", "destination_port": "80", "action": "allow"}
ALLOW_PING = {"name": "ping", "protocol": "icmp", "action": "allow"}
EVERYTHING = (
    {"name": "v4", "protocol": "tcp", "source_ip_address": "10.0.0.0/8", "action": "allow"},
    {"name": "v6", "protocol": "udp", "destination_ip_address": "fd00::/8", "action": "reject"},
    {"name": "range", "protocol": "udp", "source_port": "1024:65535", "action": "deny"},
    {"name": "number", "protocol": 112, "action": "allow"},
    {"name": "off", "protocol": "icmpv6", "action": "allow", "enabled": False},
    {"name": "all", "action": "deny"},
)
HOSTILE = ('"; flush ruleset; #', "a}b{c", "$(reboot)", "`id`", "x' or '1", "\\", "ünïcödé", "-" * 255)
"""Names that are data, whatever a device's own language makes of them."""


def firewall_driver_tests(make_driver: MakeDriver, make_device: MakeDevice) -> type[TestCase]:
    """Make the suite for one driver of firewalls.

    :param make_driver: gives the driver; called once for each test.
    :param make_device: gives a fresh device; called once for each test.
    """

    class FirewallDriverTests(_Contract):
        def driver_and_device(self) -> tuple[Any, Awaitable[DeviceUnderTest]]:
            return make_driver(self), make_device(self)

    return FirewallDriverTests


class _Contract(TestCase):
    driver: Any
    device: DeviceUnderTest
    service = "5b2f1c1e-4ad1-4c0e-9d0a-3a5a2f1e7c11"

    def driver_and_device(self) -> tuple[Any, Awaitable[DeviceUnderTest]]:
        raise NotImplementedError

    def setUp(self) -> Deferred[None]:  # type: ignore[override] # trial awaits it
        return Deferred.fromCoroutine(self._make())

    async def _make(self) -> None:
        self.driver, making = self.driver_and_device()
        self.device = await making

    def request(self, tree: Mapping[str, Any], order: tuple[int, int] = (1, 1)) -> DeviceRequest:
        return DeviceRequest(self.device.address, Order(*order), tree)

    def policy(self, *rules: Mapping[str, Any]) -> dict[str, Any]:
        return {**normalise({"firewall": {"rules": list(rules)}}), **self.device.sides}

    async def apply(
        self, tree: Mapping[str, Any], order: tuple[int, int] = (1, 1), service: str | None = None
    ) -> str:
        found: str = await self.driver.apply(self.request(tree, order), service or self.service)
        return found

    async def network(self, request: DeviceRequest) -> str:
        await self.driver.configure_interfaces(request)
        found: str = await self.driver.configure_routes(request)
        return found

    async def configured(self) -> None:
        await self.network(self.request(self.device.networking))

    async def runs(self, service: str | None = None) -> str | None:
        """The digest that the device reports for a service; ``None`` when it has no such service."""
        told = await self.driver.read_back(self.device.address)
        known: str | None = told["services"].get(service or self.service, {}).get("digest")
        return known

    async def raises(self, kind: type[NfpError], work: Awaitable[object]) -> None:
        try:
            await work
        except kind as error:
            self.holds(error.reason, "an error without a reason helps nobody")
            return
        raise self.failureException(f"{kind.__name__} was not raised")

    def same(self, found: object, wanted: object) -> None:
        self.assertEqual(found, wanted)  # type: ignore[no-untyped-call]

    def holds(self, condition: object, otherwise: str) -> None:
        if not condition:
            raise self.failureException(otherwise)

    def test_provides_the_interface(self) -> None:
        """It has every method, with the right arguments, and says what it is for."""
        verifyObject(IFirewallDriver, self.driver)
        self.same(self.driver.DRIVER_API, DRIVER_API)
        self.holds(ServiceType.FIREWALL in self.driver.service_types, "it does not say that it is a firewall")
        self.holds(isinstance(self.driver.capabilities(), Mapping), "capabilities are no mapping")

    def test_validates_without_asking_the_device(self) -> None:
        """What is canonical and possible passes; what is not is named by field."""
        self.same(list(self.driver.validate(normalise({"firewall": {"rules": [ALLOW_WEB]}}))), [])
        problems = list(self.driver.validate({"firewall": {"rules": [{"action": "maybe"}]}}))
        self.holds(problems, "an impossible action passed")
        for field, reason in problems:
            self.holds("rules[0]" in field and reason, f"{field!r}: {reason!r} does not name the rule")

    async def test_configures_interfaces_and_routes(self) -> None:
        """The digest read back is that of the tree; once more changes nothing."""
        wanted = digest(self.device.networking)
        for _ in range(2):
            self.same(await self.network(self.request(self.device.networking)), wanted)
        self.same((await self.driver.read_back(self.device.address))["digest"], wanted)

    async def test_clears_interfaces_and_routes(self) -> None:
        """Afterwards the device reports none; nothing there is success."""
        await self.configured()
        for _ in range(2):
            await self.driver.clear(self.request({}, (1, 2)))
        told = await self.driver.read_back(self.device.address)
        self.holds(told["digest"] != digest(self.device.networking), "the device is still configured")

    async def test_I8_applies_and_reads_back(self) -> None:
        """The digest that comes back is that of the tree, each time, and the device reports it."""
        await self.configured()
        for rules in ((), (ALLOW_WEB,), EVERYTHING):
            tree = self.policy(*rules)
            for _ in range(2):
                self.same(await self.apply(tree), digest(tree))
            self.same(await self.runs(), digest(tree))

    async def test_a_policy_is_replaced_whole(self) -> None:
        """The second policy leaves nothing of the first."""
        await self.configured()
        await self.apply(self.policy(ALLOW_WEB, ALLOW_PING))
        tree = self.policy(ALLOW_PING)
        self.same(await self.apply(tree, (1, 2)), digest(tree))
        self.same(await self.runs(), digest(tree))

    async def test_tells_state_and_counters(self) -> None:
        """A service's status names its digest and a counter or more."""
        await self.configured()
        tree = self.policy(ALLOW_WEB)
        await self.apply(tree)
        status = await self.driver.status(self.device.address, self.service)
        self.same(status["digest"], digest(tree))
        self.holds(status["state"] and status["counters"], "no state or no counters")
        for values in status["counters"].values():
            self.holds({"packets", "bytes"} <= set(values), f"not a counter: {values}")

    async def test_removes(self) -> None:
        """Afterwards the device does not have the service; not there is success; it may come back."""
        await self.configured()
        await self.driver.remove(self.request({}), self.service)
        await self.apply(self.policy(ALLOW_WEB))
        for _ in range(2):
            await self.driver.remove(self.request({}, (1, 2)), self.service)
        self.same(await self.runs(), None)
        await self.raises(NotFound, self.driver.status(self.device.address, self.service))
        tree = self.policy(ALLOW_PING)
        self.same(await self.apply(tree, (1, 3)), digest(tree))

    async def test_I5_a_lower_order_is_stale_and_changes_nothing(self) -> None:
        """Whatever the call, an order below the highest seen is refused."""
        await self.configured()
        tree = self.policy(ALLOW_WEB)
        await self.apply(tree, (2, 5))
        for low in ((2, 4), (1, 9)):
            old = self.request(self.policy(), low)
            await self.raises(Stale, self.driver.apply(old, self.service))
            await self.raises(Stale, self.driver.remove(self.request({}, low), self.service))
            await self.raises(Stale, self.network(self.request(self.device.networking, low)))
            await self.raises(Stale, self.driver.clear(self.request({}, low)))
        self.same(await self.runs(), digest(tree))
        self.same(await self.apply(tree, (2, 5)), digest(tree))

    async def test_names_are_data(self) -> None:
        """A rule's name cannot change what the rules mean: taken as it is, or refused."""
        await self.configured()
        for number, name in enumerate(HOSTILE):
            tree = self.policy({**ALLOW_WEB, "name": name})
            try:
                self.same(await self.apply(tree, (1, number + 1)), digest(tree))
            except (Invalid, Permanent):
                continue
        tree = self.policy(ALLOW_WEB)
        self.same(await self.apply(tree, (2, 1)), digest(tree))

    async def test_two_at_once_end_in_one_of_them(self) -> None:
        """Policies that race leave the device with the whole of one."""
        await self.configured()
        trees = [self.policy(ALLOW_WEB), self.policy(ALLOW_PING)]
        racing = [Deferred.fromCoroutine(self.apply(tree)) for tree in trees]
        await DeferredList(racing, fireOnOneErrback=True, consumeErrors=True)
        self.holds(await self.runs() in [digest(tree) for tree in trees], "neither policy is whole")

    async def test_a_healthy_device_is_healthy_at_every_level(self) -> None:
        """With everything applied, no level complains."""
        await self.configured()
        await self.apply(self.policy(ALLOW_WEB))
        for level in LEVELS:
            await self.driver.probe(self.device.address, level, 5.0)

    async def test_a_device_that_is_away_is_transient(self) -> None:
        """Every call says so, by the same error, with a reason."""
        away = replace(self.request(self.policy(ALLOW_WEB)), device=self.device.gone)
        for level in LEVELS:
            await self.raises(Transient, self.driver.probe(self.device.gone, level, 2.0))
        await self.raises(Transient, self.network(replace(away, tree=self.device.networking)))
        await self.raises(Transient, self.driver.apply(away, self.service))
        await self.raises(Transient, self.driver.remove(away, self.service))
        await self.raises(Transient, self.driver.clear(away))
        await self.raises(Transient, self.driver.read_back(self.device.gone))
