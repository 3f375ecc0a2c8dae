"""The vendors' contract suite passes a driver that keeps the contract, and fails those that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest import TestResult

from twisted.trial.unittest import SynchronousTestCase

from nfp.model.devices import DeviceAddress
from nfp.model.digest import digest
from nfp.model.errors import NotFound, Stale, Transient
from nfp.model.firewall import normalise
from nfp.testing.vendor_contract import DeviceUnderTest, firewall_driver_tests
from tests.unit.configurator.fakes import INTERFACE, MemoryDriver

HERE = DeviceAddress("d", "192.0.2.1", 9444, "d")
GONE = DeviceAddress("d", "192.0.2.2", 9444, "d")


class Good(MemoryDriver):
    """A driver and its device that keep the contract."""

    def __init__(self) -> None:
        super().__init__()
        self.highest = (0, 0)

    def validate(self, config: Mapping[str, object]) -> list[tuple[str, str]]:
        try:
            normalise(config)
        except Exception as error:  # noqa: BLE001 -- a fake
            return [(str(getattr(error, "field", "")), str(error))]
        return []

    def reach(self, device: DeviceAddress) -> None:
        if device == GONE:
            raise Transient("no route to host")

    def admit(self, request: Any) -> None:
        self.reach(request.device)
        if request.order < self.highest:
            raise Stale("a higher order was seen")
        self.highest = request.order

    async def apply(self, request: Any, service_id: str) -> str:
        self.admit(request)
        return await super().apply(request, service_id)

    async def remove(self, request: Any, service_id: str) -> None:
        self.admit(request)
        await super().remove(request, service_id)

    async def probe(self, device: Any, level: str, timeout: float) -> None:
        self.reach(device)

    async def read_back(self, device: Any) -> Mapping[str, object]:
        self.reach(device)
        trees = {name: digest(tree) for (_, name), tree in self.trees.items()}
        own = trees.pop("", None)
        return {"digest": own, "services": {name: {"digest": value} for name, value in trees.items()}}

    async def status(self, device: Any, service_id: str) -> Mapping[str, object]:
        if ("d", service_id) not in self.trees:
            raise NotFound("no such service")
        found = digest(self.trees["d", service_id])
        return {"digest": found, "state": "active", "counters": {"x": {"packets": 0, "bytes": 0}}}


class TakesAnyOrder(Good):
    def admit(self, request: Any) -> None:
        self.reach(request.device)


class SaysWhatItSent(Good):
    async def apply(self, request: Any, service_id: str) -> str:
        self.admit(request)
        return digest(request.tree)


class Merges(Good):
    async def apply(self, request: Any, service_id: str) -> str:
        self.admit(request)
        old = self.trees.get(("d", service_id), {"firewall": {"rules": []}})
        rules = [*old["firewall"]["rules"], *request.tree["firewall"]["rules"]]
        tree = {**request.tree, "firewall": {**request.tree["firewall"], "rules": rules}}
        self.trees["d", service_id] = tree
        return digest(tree)


class KeepsWhatIsRemoved(Good):
    async def remove(self, request: Any, service_id: str) -> None:
        self.admit(request)


class IsAlwaysWell(Good):
    async def probe(self, device: Any, level: str, timeout: float) -> None:
        pass


class LosesPart(Good):
    capabilities = None


async def make_device(case: object) -> DeviceUnderTest:
    networking = {"interfaces": [INTERFACE], "routes": []}
    return DeviceUnderTest(HERE, GONE, networking, {"provider": None, "consumer": None})


def failures(driver: Callable[[], Any]) -> set[str]:
    """The names of the tests that fail for a driver."""
    suite = firewall_driver_tests(lambda case: driver(), make_device)
    result = TestResult()
    for name in dir(suite):
        if name.startswith("test_"):
            suite(name).run(result)
    return {case.id().rpartition(".")[2] for case, _ in result.failures + result.errors}


class Suite(SynchronousTestCase):
    def test_a_good_driver_passes(self) -> None:
        self.assertEqual(failures(Good), set())

    def test_each_broken_promise_is_found(self) -> None:
        for driver, test in (
            (TakesAnyOrder, "test_I5_a_lower_order_is_stale_and_changes_nothing"),
            (SaysWhatItSent, "test_I8_applies_and_reads_back"),
            (Merges, "test_a_policy_is_replaced_whole"),
            (KeepsWhatIsRemoved, "test_removes"),
            (KeepsWhatIsRemoved, "test_clears_interfaces_and_routes"),
            (IsAlwaysWell, "test_a_device_that_is_away_is_transient"),
            (LosesPart, "test_provides_the_interface"),
        ):
            self.assertIn(test, failures(driver), driver.__name__)
