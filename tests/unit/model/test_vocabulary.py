"""Tests for the small words that everything is said in: orders, digests, secrets, errors."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.digest import canonical, digest
from nfp.model.errors import Conflict, Invalid, NfpError, Stale, by_code
from nfp.model.order import Order
from nfp.model.secret import Secret

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Orders(SynchronousTestCase):
    def test_I5_the_fence_weighs_more_than_the_revision(self) -> None:
        self.assertTrue(Order(1, 9) < Order(2, 0) < Order(2, 1))

    @given(st.integers(), st.integers())
    def test_an_order_survives_the_wire(self, fence: int, revision: int) -> None:
        order = Order(fence, revision)
        self.assertEqual(Order.of(json.loads(json.dumps(order))), order)

    def test_anything_but_two_integers_is_refused_by_name(self) -> None:
        for value in (
            [],
            [1],
            [1, 2, 3],
            [1, "2"],
            [1, None],
            [True, 1],
            [1, False],
            [1.0, 2],
            "12",
            None,
            {},
        ):
            error = self.assertRaises(Invalid, Order.of, value, "info.context.order")
            self.assertEqual(error.field, "info.context.order")


class Digests(SynchronousTestCase):
    @given(trees)
    def test_I8_a_tree_keeps_its_digest_over_the_wire(self, tree: Any) -> None:
        self.assertEqual(digest(json.loads(json.dumps(tree))), digest(tree))

    @given(st.dictionaries(st.text(), trees, min_size=2, max_size=5))
    def test_the_order_of_keys_does_not_matter(self, tree: dict[str, Any]) -> None:
        self.assertEqual(digest(dict(reversed(tree.items()))), digest(tree))

    @given(trees, trees)
    def test_different_trees_have_different_digests(self, one: Any, other: Any) -> None:
        self.assertEqual(digest(one) == digest(other), canonical(one) == canonical(other))

    def test_the_order_of_a_list_matters(self) -> None:
        self.assertNotEqual(digest([1, 2]), digest([2, 1]))

    def test_a_digest_is_stable_across_releases(self) -> None:
        self.assertEqual(
            digest({"b": [1, None], "a": "ä"}),
            "e4caa232016484a6396284455390402a812bfdd2be394296225426cebe5d05ad",
        )

    def test_what_is_not_json_has_none(self) -> None:
        self.assertRaises(TypeError, digest, {"a": {1, 2}})


class Secrets(SynchronousTestCase):
    def test_a_secret_is_not_shown_however_it_is_printed(self) -> None:
        secret = Secret("hunter2")
        for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>10}", f"{[secret]}", "%s" % secret):  # noqa: UP031
            self.assertNotIn("hunter2", shown)
        self.assertEqual(secret.reveal(), "hunter2")

    def test_secrets_compare_by_value(self) -> None:
        self.assertEqual(Secret("a"), Secret("a"))
        self.assertNotEqual(Secret("a"), Secret("b"))
        self.assertNotEqual(Secret("a"), "a")
        self.assertEqual(len({Secret("a"), Secret("a")}), 1)


def family(root: type[NfpError]) -> list[type[NfpError]]:
    """The errors of the vocabulary, without those that components add."""
    found = [root, *(one for child in root.__subclasses__() for one in family(child))]
    return [one for one in found if one.__module__ == "nfp.model.errors"]


class Errors(SynchronousTestCase):
    def test_every_error_survives_a_wire_by_its_code(self) -> None:
        for kind in family(NfpError):
            there = kind("what happened", field="a.b")
            here = by_code(there.code, there.reason, there.field)
            self.assertIs(type(here), kind)
            self.assertEqual((str(here), here.reason, here.field), (str(there), "what happened", "a.b"))

    def test_codes_are_unique_and_the_classes_names(self) -> None:
        kinds = family(NfpError)
        codes = [kind.code for kind in kinds]
        self.assertEqual(len(set(codes)), len(codes))
        self.assertEqual([kind.__name__ for kind in kinds if kind is not NfpError], codes[1:])

    def test_an_unknown_code_is_still_an_error(self) -> None:
        self.assertIs(type(by_code("FromTheFuture", "x")), NfpError)

    def test_the_field_stands_before_the_text(self) -> None:
        self.assertEqual(str(Invalid("is required", field="info")), "info: is required")
        self.assertEqual(str(Invalid("is required")), "is required")

    def test_stale_is_a_conflict(self) -> None:
        self.assertTrue(issubclass(Stale, Conflict))
