"""Tests for the fast yes: it never says yes where the validator says no, and says it where it matters."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager import schemas
from nfp.model.conforming import conforming
from tests.unit.manager.requests import network_service

STRANGE = (None, True, False, 0, 1, 1.0, -1, 1.5, "", "x", "x" * 2000, [], [None], {}, {"x": None}, "\n")

GOOD: tuple[tuple[Any, Any], ...] = (
    (schemas.CREATE, {"network_service": network_service()}),
    (schemas.UPDATE, {"network_service_id": "s", "network_service": {"name": "n", "service_config": {}}}),
    (schemas.BY_ID, {"network_service_id": "s"}),
    (schemas.LIST, {"filters": {"name": "x"}, "fields": ["id"], "sort": None, "limit": 3, "marker": None}),
    (schemas.REPORT_AGENT, {"agent": {"host": "h", "boot_id": "b", "configurators": [{"name": "c"}]}}),
    (schemas.PLUMBING, {"request_info": {"profile": {"service_type": "FIREWALL"}}}),
)

SMALL: tuple[Any, ...] = (
    {"enum": ["a", 1, None]},
    {"enum": [True]},
    {"type": ["integer", "null"], "minimum": 1, "maximum": 5},
    {"type": "number", "maximum": 1},
    {"minLength": 1, "maxLength": 3},
    {"pattern": "^x$"},
    {"items": {"type": "null"}, "minItems": 1, "maxItems": 1},
    {"additionalProperties": {"type": "string"}},
    {"properties": {"x": {"type": "null"}}, "additionalProperties": False, "minProperties": 1},
    {"maxProperties": 0},
    True,
)


def changed(value: Any) -> Iterator[Any]:
    """*value* with each of its parts, and it itself, replaced by each strange value, or left out."""
    yield from STRANGE
    if isinstance(value, dict | list):
        for place, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
            for other in changed(part):
                copied = copy.copy(value)
                copied[place] = other
                yield copied
            copied = copy.copy(value)
            del copied[place]
            yield copied


class ConformingTests(SynchronousTestCase):
    def test_what_is_right_is_said_to_be(self) -> None:
        for schema, value in GOOD:
            test = conforming(schema)
            assert test is not None
            self.assertTrue(test(value))

    def test_it_never_says_yes_where_the_validator_says_no(self) -> None:
        for schema, value in (*GOOD, *((schema, {"x": [1]}) for schema in SMALL)):
            test, validator = conforming(schema), Draft202012Validator(schema)
            assert test is not None
            for other in changed(value):
                if test(other):
                    self.assertTrue(validator.is_valid(other), f"{schema} does not allow {other}")

    def test_what_it_does_not_know_it_leaves_to_the_validator(self) -> None:
        for schema in (False, {"anyOf": []}, {"format": "uuid"}, {"items": {"not": {}}}, {"type": "any"}):
            self.assertIsNone(conforming(schema))
        self.assertIsNone(conforming({"properties": {"x": {"$ref": "#"}}}))
        self.assertIsNone(conforming({"patternProperties": {}, "additionalProperties": False}))
