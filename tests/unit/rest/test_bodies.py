"""Parsing JSON from outside."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Invalid
from nfp.rest.bodies import parse_json
from nfp.rest.errors import TooLarge


class ParseTests(SynchronousTestCase):
    def test_nesting_beyond_what_python_recurses_is_an_answer_too(self) -> None:
        self.assertRaises(TooLarge, parse_json, b"[" * 200_000 + b"]" * 200_000)

    def test_a_number_too_long_to_read_is_invalid(self) -> None:
        self.assertRaises(Invalid, parse_json, b"1" * 10_000)

    def test_a_deep_object_is_counted_as_a_deep_list_is(self) -> None:
        self.assertEqual(parse_json(b'{"a":{"b":1}}', depth=2), {"a": {"b": 1}})
        self.assertRaises(TooLarge, parse_json, b'{"a":{"b":1}}', depth=1)
