"""The text that is written for a firewall."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.device import ruleset
from nfp.model.firewall import normalise

SERVICE = "0a1b2c3d-4e5f-4000-8000-000000000001"
DIGEST = "ab" * 32


def canonical(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = normalise({"firewall": {"rules": list(rules), **more}})["firewall"]
    return found


def rule(**more: Any) -> dict[str, Any]:
    return {"protocol": "tcp", "action": "allow", **more}


def script(firewall: dict[str, Any], **more: Any) -> str:
    arguments: dict[str, Any] = {
        "digest": DIGEST,
        "slot": 0,
        "generation": 5,
        "replaces": None,
        "management_address": "fd00::1",
    }
    return ruleset.script(SERVICE, firewall, **{**arguments, **more})


def chain(text: str, name: str) -> list[str]:
    """The lines of one chain, without counters."""
    body = text.split(f"chain {name} {{\n")[1].split("}\n")[0]
    return [" ".join(word for word in _uncounted(line)) for line in body.splitlines()]


def _uncounted(line: str) -> list[str]:
    words = line.split(" ")
    if "counter" in words:
        at = words.index("counter")
        del words[at : at + 3]
    return words


class RuleTests(SynchronousTestCase):
    def judged(self, *rules: dict[str, Any], **more: Any) -> list[str]:
        return chain(script(canonical(*rules, **more)), "judge")

    def test_rules_keep_their_order_and_the_default_comes_last(self) -> None:
        self.assertEqual(
            self.judged(
                rule(destination_port="80:90", source_ip_address="10.0.0.7/24"),
                rule(action="deny", source_port=53, protocol="udp", destination_ip_address="fd00::/64"),
                rule(action="reject", protocol=112),
            ),
            [
                "ct original ip saddr 10.0.0.0/24 meta l4proto 6 ct original proto-dst 80-90 goto allow",
                "ct original ip6 daddr fd00::/64 meta l4proto 17 ct original proto-src 53 drop",
                "meta l4proto 112 goto refuse",
                "drop",
            ],
        )

    def test_any_protocol_and_the_ip_version(self) -> None:
        self.assertEqual(
            self.judged(
                rule(protocol=None), rule(ip_version=6), rule(protocol="icmp"), rule(protocol="icmpv6")
            ),
            [
                "goto allow",
                "meta nfproto ipv6 meta l4proto 6 goto allow",
                "meta nfproto ipv4 meta l4proto 1 goto allow",
                "meta nfproto ipv6 meta l4proto 58 goto allow",
                "drop",
            ],
        )

    def test_disabled_rules_are_left_out(self) -> None:
        self.assertEqual(self.judged(rule(enabled=False)), ["drop"])

    def test_the_default_may_be_to_allow(self) -> None:
        self.assertEqual(self.judged(default_action="allow"), ["goto allow"])

    def test_administratively_down_lets_nothing_pass(self) -> None:
        self.assertEqual(self.judged(rule(), default_action="allow", admin_state_up=False), ["drop"])

    @given(st.text(max_size=40).filter(str.isprintable))
    def test_no_text_of_the_tree_is_copied(self, text: str) -> None:
        plain = script(canonical(rule(), rule(destination_port=80)))
        named = script(canonical(rule(id=text[:60], name=text), rule(destination_port=80)))
        self.assertEqual(*(chain(each, "judge") for each in (plain, named)))
        self.assertTrue(named.isascii())
        self.assertEqual(len(named), len(plain))


class MarkTests(SynchronousTestCase):
    def test_each_slot_reads_and_writes_its_own_half(self) -> None:
        low, high = (script(canonical(), slot=slot, generation=0x1234) for slot in (0, 1))
        self.assertIn("ct mark and 0x0000ffff == 0x00001234", low)
        self.assertIn("ct mark set ct mark and 0xffff0000 or 0x00001234", low)
        self.assertIn("ct mark and 0xffff0000 == 0x12340000", high)
        self.assertIn("ct mark set ct mark and 0x0000ffff or 0x12340000", high)

    def test_a_service_without_slot_marks_nothing(self) -> None:
        self.assertNotIn("mark", script(canonical(rule()), slot=None))

    def test_generations_come_round_without_zero(self) -> None:
        self.assertEqual(ruleset.next_generation(1), 2)
        self.assertEqual(ruleset.next_generation(0xFFFF), 1)

    def test_slots(self) -> None:
        self.assertEqual(ruleset.free_slot([]), 0)
        self.assertEqual(ruleset.free_slot([0, None]), 1)
        self.assertEqual(ruleset.free_slot([1]), 0)
        self.assertIsNone(ruleset.free_slot([1, 0]))

    def test_what_is_no_digest_generation_or_slot_is_refused(self) -> None:
        for bad in ({"digest": '"; drop'}, {"generation": 0}, {"generation": 0x10000}, {"slot": 2}):
            with self.assertRaises(ValueError, msg=str(bad)):
                script(canonical(), **bad)


class TransactionTests(SynchronousTestCase):
    def test_every_chain_that_is_filled_is_flushed_before(self) -> None:
        text = script(canonical(rule()))
        filled = [line.split()[1] for line in text.splitlines() if line.startswith("chain ")]
        flushed = [line.split()[-1] for line in text.splitlines() if line.startswith("flush chain ")]
        self.assertEqual(sorted(filled), sorted(flushed))
        self.assertLess(text.rindex("flush chain"), text.index("\ntable "))

    def test_only_counters_that_come_or_go_are_named(self) -> None:
        old = canonical(rule(id="a"), rule(id="b"))
        new = canonical(rule(id="b"), rule(id="c"))
        name = {one.label: one.name for one in [*ruleset.counters_of(old), *ruleset.counters_of(new)]}
        lines = script(new, replaces=old).splitlines()
        changes = [line.split()[0::4] for line in lines if " counter inet " in line]
        self.assertEqual(changes, [["delete", name["a"]], ["add", name["c"]]])

    def test_an_unknown_table_is_removed_first(self) -> None:
        lines = script(canonical(), replaces=canonical(rule()), anew=True).splitlines()
        table = f"table inet {ruleset.table_name(SERVICE)}"
        self.assertEqual(lines[:3], [f"add {table}", f"delete {table}", f"add {table}"])
        self.assertEqual([line for line in lines if line.startswith("delete counter")], [])

    def test_management_is_neither_filtered_nor_reachable(self) -> None:
        text = script(canonical(rule(protocol=None)), management_address="FD00::00:1")
        self.assertEqual(chain(text, "forward")[:2], ['iifname "eth0" drop', 'oifname "eth0" drop'])
        self.assertIn('iifname != { "lo", "eth0" } ip6 daddr fd00::1 drop', text)
        with self.assertRaises(ValueError):
            script(canonical(), management_address="fd00::1 accept")

    def test_the_digest_is_found_in_a_listing(self) -> None:
        self.assertEqual(ruleset.digest_in(script(canonical())), DIGEST)
        self.assertIsNone(ruleset.digest_in("table inet x {}"))


class NameTests(SynchronousTestCase):
    def test_a_table_bears_the_beginning_of_its_service(self) -> None:
        self.assertEqual(ruleset.table_name(SERVICE), "nfp_0a1b2c3d4e5f")
        self.assertEqual(ruleset.table_name(SERVICE.upper()), "nfp_0a1b2c3d4e5f")
        self.assertRegex(ruleset.table_name("any } other"), "^nfp_[0-9a-f]{12}$")

    def test_a_rule_keeps_its_counter_wherever_it_moves(self) -> None:
        first, second = rule(destination_port=1), rule(destination_port=2)
        self.assertEqual(
            {one.name for one in ruleset.counters_of(canonical(first, second))},
            {one.name for one in ruleset.counters_of(canonical(second, first))},
        )

    def test_equal_rules_and_names_have_counters_of_their_own(self) -> None:
        found = ruleset.counters_of(
            canonical(rule(name="web"), rule(name="web"), rule(id="x", name="web"), rule(name="default"))
        )
        self.assertEqual([one.label for one in found], ["web", "rules[1]", "x", "rules[3]"])
        self.assertEqual(len({one.name for one in found}), 4)

    @given(st.lists(st.sampled_from(["rules[1]", "rules[0]", "web", "established", None]), max_size=5))
    def test_labels_never_collide(self, names: list[str | None]) -> None:
        found = ruleset.counters_of(canonical(*(rule(name=name) for name in names)))
        self.assertEqual(len({one.label for one in found}), len(names))
