"""Tests for the bodies between manager and configurator, and for how schemas name what is wrong."""

from __future__ import annotations

import copy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nfp.model import requests
from nfp.model.devices import DeviceAddress
from nfp.model.digest import digest
from nfp.model.errors import Invalid
from nfp.model.schemas import check

DEVICE = DeviceAddress("d1", "192.0.2.1", 9444, "device.h1")
ITEMS = (
    {"resource": "interfaces", "resource_data": {"interfaces": [1]}},
    {"resource": "routes", "resource_data": {"routes": [2]}},
)


def body() -> dict[str, Any]:
    return requests.body(
        service_type="FIREWALL",
        service_vendor="nftables",
        context={"nsd_id": "d1", "order": [1, 2], "mine": "back"},
        device=DEVICE,
        config=ITEMS,
    )


class Bodies(SynchronousTestCase):
    def test_what_is_built_passes_the_check_and_says_which_device(self) -> None:
        requests.check_body(body())
        self.assertEqual(requests.device_of(body()), DEVICE)

    def test_the_tree_is_what_was_wanted_without_the_address(self) -> None:
        self.assertEqual(requests.tree_of(body()["config"]), {"interfaces": [1], "routes": [2]})
        self.assertEqual(digest(requests.tree_of(body()["config"])), digest(requests.tree_of(ITEMS)))

    def test_building_leaves_the_items_alone(self) -> None:
        before = copy.deepcopy(ITEMS)
        body()
        self.assertEqual(ITEMS, before)

    def test_items_for_two_devices_are_refused(self) -> None:
        two = body()
        two["config"][1]["resource_data"]["nsd"]["nsd_id"] = "d2"
        self.assertEqual(self.assertRaises(Invalid, requests.device_of, two).field, "config")

    def test_every_bad_field_is_named(self) -> None:
        def change(path: str, value: Any) -> dict[str, Any]:
            changed: Any = body()
            *parents, last = path.split(".")
            found = changed
            for name in parents:
                found = found[int(name) if name.isdigit() else name]
            if value is None:
                del found[last]
            else:
                found[last] = value
            return changed

        for path, value, field in (
            ("info", None, "info"),
            ("config", [], "config"),
            ("info.service_type", None, "info.service_type"),
            ("info.service_vendor", "", "info.service_vendor"),
            ("info.context.nsd_id", 7, "info.context.nsd_id"),
            ("info.context.order", [1], "info.context.order"),
            ("info.context.order", [1, "2"], "info.context.order[1]"),
            ("config.0.resource", None, "config[0].resource"),
            ("config.1.resource_data", [], "config[1].resource_data"),
            ("config.1.resource_data.nsd.port", 65536, "config[1].resource_data.nsd.port"),
            ("config.1.resource_data.nsd.address", None, "config[1].resource_data.nsd.address"),
        ):
            error = self.assertRaises(Invalid, requests.check_body, change(path, value))
            self.assertEqual(error.field, field)

    def test_results_carry_order_outcome_and_context(self) -> None:
        told: Any = requests.result(
            requests.NSD_CONFIG_NOTIFICATION,
            body(),
            outcome="refused",
            digest=None,
            reason="r",
            transient=True,
        )
        self.assertEqual(told["info"], body()["info"])
        self.assertEqual(
            told["notification"],
            [
                {
                    "resource": "routes",
                    "data": {
                        "order": [1, 2],
                        "digest": None,
                        "outcome": "refused",
                        "reason": "r",
                        "transient": True,
                    },
                }
            ],
        )


class Schemas(SynchronousTestCase):
    def fails(self, instance: object, schema: dict[str, Any], field: str = "") -> Invalid:
        error = self.assertRaises(Invalid, check, instance, schema, field)
        assert isinstance(error, Invalid)
        return error

    def test_the_instance_s_own_name_stands_before_the_path(self) -> None:
        schema = {"properties": {"a": {"items": {"type": "integer"}}}}
        self.assertEqual(self.fails({"a": [1, "2"]}, schema, "args").field, "args.a[1]")
        self.assertEqual(self.fails({"a": [1, "2"]}, schema).field, "a[1]")
        self.assertEqual(self.fails(["2"], {"items": {"type": "integer"}}, "rules").field, "rules[0]")

    def test_what_was_expected_is_said_in_the_schema_s_words(self) -> None:
        error = self.fails("x", {"type": "integer", "description": "a port"}, "port")
        self.assertEqual(str(error), "port: expected a port, got 'x'")

    def test_what_was_got_is_cut_short(self) -> None:
        self.assertLess(len(str(self.fails("x" * 10_000, {"type": "integer", "description": "a port"}))), 300)

    def test_a_missing_attribute_is_named_itself(self) -> None:
        error = self.fails({"b": {}}, {"properties": {"b": {"required": ["c"]}}})
        self.assertEqual((error.field, error.reason), ("b.c", "is required"))

    def test_schemas_that_look_alike_are_not_mixed_up(self) -> None:
        for number in range(50):
            check(number, {"const": number})
            self.fails(number, {"const": number + 1})
