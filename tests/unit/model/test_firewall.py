"""Tests for the canonical firewall tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.digest import digest
from nfp.model.errors import Invalid
from nfp.model.firewall import normalise


def firewall(*rules: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"firewall": {"rules": list(rules), **attributes}}


def only_rule(**attributes: Any) -> dict[str, Any]:
    tree: Any = normalise(firewall({"action": "allow", **attributes}))
    [rule] = tree["firewall"]["rules"]
    assert isinstance(rule, dict)
    return rule


class CanonicalForm(SynchronousTestCase):
    def test_everything_left_out_is_spelled_out(self) -> None:
        self.assertEqual(
            normalise(firewall({"protocol": "tcp", "destination_port": "80", "action": "allow"})),
            {
                "firewall": {
                    "rules": [
                        {
                            "id": None,
                            "name": None,
                            "protocol": "tcp",
                            "ip_version": None,
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
            },
        )

    def test_no_rules_denies_everything(self) -> None:
        for empty in ({"firewall": {}}, firewall(), {"firewall": {"rules": None}}):
            self.assertEqual(
                normalise(empty)["firewall"], {"rules": [], "default_action": "deny", "admin_state_up": True}
            )

    def test_equal_meaning_gives_an_equal_digest(self) -> None:
        pairs = [
            ({"protocol": "TCP", "destination_port": 80}, {"protocol": 6, "destination_port": "80"}),
            ({"protocol": "udp", "source_port": "80-90"}, {"protocol": "17", "source_port": "80:90"}),
            ({"source_ip_address": "10.0.0.7"}, {"source_ip_address": "10.0.0.7/32", "ip_version": 4}),
            ({"source_ip_address": "10.0.0.7/24"}, {"source_ip_address": "10.0.0.0/24"}),
            ({"source_ip_address": "0.0.0.0/0"}, {"ip_version": "4"}),
            ({"source_ip_address": "FD00:0::1"}, {"source_ip_address": "fd00::1/128"}),
            ({"protocol": "any"}, {"protocol": None}),
            ({"protocol": "icmp", "ip_version": 6}, {"protocol": "icmpv6"}),
            ({"enabled": "False"}, {"enabled": False}),
            ({"protocol": "tcp", "source_port": "80:80"}, {"protocol": "tcp", "source_port": 80}),
            ({"description": "x", "tenant_id": "t"}, {}),
        ]
        for one, other in pairs:
            self.assertEqual(
                digest(normalise(firewall({"action": "allow", **one}))),
                digest(normalise(firewall({**other, "action": "ALLOW"}))),
                f"{one} and {other}",
            )

    def test_a_disabled_rule_stays(self) -> None:
        self.assertIs(only_rule(enabled=False)["enabled"], False)

    def test_addresses_say_the_ip_version(self) -> None:
        self.assertEqual(only_rule(destination_ip_address="fd00::/64")["ip_version"], 6)
        self.assertEqual(only_rule(destination_ip_address="10.0.0.0/8")["ip_version"], 4)
        self.assertIsNone(only_rule()["ip_version"])

    def test_an_unnamed_protocol_keeps_its_number(self) -> None:
        self.assertEqual(only_rule(protocol=112)["protocol"], 112)
        self.assertEqual(only_rule(protocol="112")["protocol"], 112)

    def test_the_list_of_the_neutron_plugin_is_read_too(self) -> None:
        rule = {"action": "deny", "protocol": "tcp", "position": 1, "shared": False}
        self.assertEqual(
            normalise({"firewall": {"firewall_rule_list": [rule], "router_ids": ["r"], "status": "ACTIVE"}}),
            normalise(firewall(rule)),
        )


class RuleOrder(SynchronousTestCase):
    def names(self, *rules: dict[str, Any]) -> list[Any]:
        tree: Any = normalise(firewall(*({"action": "allow", **rule} for rule in rules)))
        return [rule["name"] for rule in tree["firewall"]["rules"]]

    def test_positions_order_the_rules_when_all_have_one(self) -> None:
        self.assertEqual(self.names({"name": "b", "position": 2}, {"name": "a", "position": 1}), ["a", "b"])

    def test_equal_positions_keep_the_order_of_the_list(self) -> None:
        self.assertEqual(self.names({"name": "b", "position": 1}, {"name": "a", "position": 1}), ["b", "a"])

    def test_the_list_orders_the_rules_when_one_has_no_position(self) -> None:
        self.assertEqual(self.names({"name": "b", "position": 2}, {"name": "a"}), ["b", "a"])


class Refusals(SynchronousTestCase):
    def refused(self, config: Any, field: str, expected: str) -> None:
        with self.assertRaises(Invalid) as caught:
            normalise(config)
        self.assertEqual(caught.exception.field, field)
        self.assertIn(expected, str(caught.exception))

    def test_a_bad_attribute_of_a_rule_is_named(self) -> None:
        bad = [
            ({"protocol": "tpc"}, "protocol", "tcp, udp"),
            ({"protocol": 256}, "protocol", "0 to 255"),
            ({"protocol": True}, "protocol", "tcp"),
            ({"protocol": ["tcp"]}, "protocol", "tcp"),
            ({"protocol": ""}, "protocol", "tcp"),
            ({"protocol": "icmpv6", "ip_version": 4}, "protocol", "icmp with IPv4"),
            ({"ip_version": 5}, "ip_version", "4 or 6"),
            ({"source_ip_address": "10.0.0.0/33"}, "source_ip_address", "CIDR"),
            ({"source_ip_address": "10.0.0"}, "source_ip_address", "CIDR"),
            ({"source_ip_address": 167772160}, "source_ip_address", "CIDR"),
            ({"source_ip_address": ""}, "source_ip_address", "CIDR"),
            ({"destination_ip_address": "10.0.0.0/255.0.0.0"}, "destination_ip_address", "CIDR"),
            ({"destination_ip_address": "fe80::1%eth0"}, "destination_ip_address", "CIDR"),
            ({"source_ip_address": "10.0.0.1", "ip_version": 6}, "source_ip_address", "IPv6"),
            (
                {"source_ip_address": "10.0.0.1", "destination_ip_address": "fd00::1"},
                "destination_ip_address",
                "IPv4",
            ),
            (
                {"protocol": "icmp", "destination_ip_address": "10.0.0.1", "source_port": 1},
                "source_port",
                "tcp",
            ),
            ({"destination_port": 80}, "destination_port", "needs protocol"),
            ({"protocol": "tcp", "destination_port": 0}, "destination_port", "1 to 65535"),
            ({"protocol": "tcp", "destination_port": 65536}, "destination_port", "1 to 65535"),
            ({"protocol": "tcp", "destination_port": "90:80"}, "destination_port", "80:90"),
            ({"protocol": "tcp", "destination_port": "80:90:91"}, "destination_port", "80:90"),
            ({"protocol": "tcp", "destination_port": "http"}, "destination_port", "1 to 65535"),
            ({"protocol": "tcp", "destination_port": "²"}, "destination_port", "1 to 65535"),
            ({"protocol": "tcp", "destination_port": 80.0}, "destination_port", "1 to 65535"),
            ({"action": "permit"}, "action", "allow, deny, reject"),
            ({"action": None}, "action", "allow, deny, reject"),
            ({"enabled": 1}, "enabled", "true or false"),
            ({"position": -1}, "position", "0 or more"),
            ({"name": "a\nb"}, "name", "printable"),
            ({"name": "x" * 256}, "name", "255"),
            ({"id": 7}, "id", "text"),
            ({"destination_prot": 80}, "destination_prot", "not an attribute"),
        ]
        good = {"action": "allow"}
        for attributes, name, expected in bad:
            self.refused(
                firewall(good, good, {"action": "allow", **attributes}),
                f"service_config.firewall.rules[2].{name}",
                expected,
            )

    def test_a_rule_without_action_is_refused(self) -> None:
        self.refused(firewall({"protocol": "tcp"}), "service_config.firewall.rules[0].action", "is required")

    def test_a_bad_attribute_of_the_firewall_is_named(self) -> None:
        where = "service_config.firewall"
        self.refused({}, where, "is required")
        self.refused([], "service_config", "an object")
        self.refused({"firewall": []}, where, "an object")
        self.refused({"firewall": {"rules": {}}}, f"{where}.rules", "a list")
        self.refused(firewall("allow"), f"{where}.rules[0]", "an object")
        self.refused(firewall(default_action="reject"), f"{where}.default_action", "allow, deny")
        self.refused(firewall(admin_state_up="yes"), f"{where}.admin_state_up", "true or false")
        self.refused(firewall(defaultaction="allow"), f"{where}.defaultaction", "default_action")
        self.refused({"firewall": {}, "vpn": {}}, "service_config.vpn", "not an attribute")
        self.refused(firewall(firewall_rule_list=[]), f"{where}.rules", "either")

    def test_two_rules_with_one_id_are_refused(self) -> None:
        rule = {"id": "r", "action": "allow"}
        self.refused(firewall(rule, rule), "service_config.firewall.rules[1].id", "no other rule")


ports = st.one_of(
    st.integers(1, 65535),
    st.tuples(st.integers(1, 65535), st.integers(1, 65535), st.sampled_from(":-")).map(
        lambda pair: f"{min(pair[:2])}{pair[2]}{max(pair[:2])}"
    ),
)
families: dict[int, Any] = {
    4: st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
    6: st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
}


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    family = draw(st.sampled_from([4, 6]))
    rule: dict[str, Any] = {"action": draw(st.sampled_from(["allow", "deny", "reject", "Allow"]))}
    for name in ("source_ip_address", "destination_ip_address"):
        if draw(st.booleans()):
            address, length = draw(families[family])
            rule[name] = draw(st.sampled_from([str(address), f"{address}/{length}"]))
    if draw(st.booleans()):
        rule["ip_version"] = draw(st.sampled_from([family, str(family)]))
    protocol = draw(st.sampled_from([None, "any", "tcp", "UDP", "sctp", 6, "17", 112, 2, "icmp"]))
    if protocol == "icmp" and family == 6:
        protocol = "icmpv6"
    rule["protocol"] = protocol
    if protocol in ("tcp", "UDP", "sctp", 6, "17"):
        rule["source_port"] = draw(st.one_of(st.none(), ports))
        rule["destination_port"] = draw(st.one_of(st.none(), ports))
    if draw(st.booleans()):
        rule["enabled"] = draw(st.booleans())
    if draw(st.booleans()):
        rule["position"] = draw(st.integers(0, 20))
    rule["name"] = draw(st.one_of(st.none(), st.text("abc- ", max_size=5)))
    return rule


NAMES = st.sampled_from(["firewall", "rules", "protocol", "action", "source_port", "id", "position"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)


class Properties(SynchronousTestCase):
    @given(st.lists(rules(), max_size=8), st.sampled_from([None, "allow", "deny"]))
    @settings(deadline=None)
    def test_normalising_twice_is_normalising_once(self, given: list[Any], default: str | None) -> None:
        try:
            once = normalise(firewall(*given, default_action=default))
        except Invalid as error:
            # Only the pair of a bare icmpv6 and the other family can clash here.
            self.assertIn(error.field and error.field.rsplit(".", 1)[1], ("protocol",))
            return
        self.assertEqual(normalise(once), once)
        self.assertEqual(len(once["firewall"]["rules"]), len(given))

    @given(anything)
    @settings(deadline=None)
    def test_anything_else_is_refused_as_invalid_and_never_crashes(self, value: Any) -> None:
        try:
            tree = normalise(value)
        except Invalid as error:
            self.assertTrue(error.field and error.field.startswith("service_config"))
        else:
            self.assertEqual(normalise(tree), tree)
