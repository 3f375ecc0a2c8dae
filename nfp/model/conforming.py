"""A fast yes: most of what is checked is well formed, and jsonschema takes as long to say so as to say no.

Knows the common keywords of JSON Schema.  It says yes only of what conforms; where it does not, the
validator decides, and finds the words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Any], bool]

_SAYS_NOTHING = frozenset(["description", "title", "default", "examples", "$comment", "$schema"])

_TYPES: Mapping[str, Test] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def conforming(schema: Any) -> Test | None:
    """Make the test for a schema; ``None`` when it says something that is not known here."""
    if schema is True:
        return _anything
    if not isinstance(schema, Mapping):
        return None
    tests: list[Test] = []
    for keyword, wanted in schema.items():
        if keyword in _SAYS_NOTHING:
            continue
        make = _MAKERS.get(keyword)
        test = make(wanted, schema) if make is not None else None
        if test is None:
            return None
        tests.append(test)
    if len(tests) == 1:
        return tests[0]

    def all_of(value: Any) -> bool:
        for test in tests:  # noqa: SIM110 -- a generator costs more than most tests
            if not test(value):
                return False
        return True

    return all_of


def _anything(value: Any) -> bool:
    return True


def _type(wanted: Any, schema: Any) -> Test | None:
    names = [wanted] if isinstance(wanted, str) else wanted
    if any(name not in _TYPES for name in names):
        return None
    if len(names) == 1:
        return _TYPES[names[0]]
    tests = [_TYPES[name] for name in names]
    return lambda value: any(test(value) for test in tests)


def _enum(wanted: Any, schema: Any) -> Test:
    # Of strings and null only: in Python 1 == True, in JSON it is not.
    known = [value for value in wanted if value is None or isinstance(value, str)]
    return lambda value: (value is None or isinstance(value, str)) and value in known


def _required(wanted: Any, schema: Any) -> Test:
    names = frozenset(wanted)
    return lambda value: not isinstance(value, dict) or names <= value.keys()


def _properties(wanted: Any, schema: Any) -> Test | None:
    tests = {name: conforming(part) for name, part in wanted.items()}
    if any(test is None for test in tests.values()):
        return None

    def each(value: Any) -> bool:
        if isinstance(value, dict):
            for name, part in value.items():
                test = tests.get(name)
                if test is not None and not test(part):
                    return False
        return True

    return each


def _additional(wanted: Any, schema: Any) -> Test | None:
    if "patternProperties" in schema:
        return None
    known = frozenset(schema.get("properties", ()))
    if wanted is False:
        return lambda value: not isinstance(value, dict) or value.keys() <= known
    test = conforming(wanted)
    if test is None:
        return None
    others = test
    return lambda value: (
        not isinstance(value, dict) or all(others(value[name]) for name in value.keys() - known)
    )


def _items(wanted: Any, schema: Any) -> Test | None:
    test = conforming(wanted)
    if test is None or "prefixItems" in schema:
        return None
    each = test
    return lambda value: not isinstance(value, list) or all(each(item) for item in value)


def _pattern(wanted: Any, schema: Any) -> Test:
    search = re.compile(wanted).search
    return lambda value: not isinstance(value, str) or search(value) is not None


def _least(kind: Any, measure: Callable[[Any], Any]) -> Callable[[Any, Any], Test]:
    return lambda wanted, schema: lambda value: not isinstance(value, kind) or measure(value) >= wanted


def _most(kind: Any, measure: Callable[[Any], Any]) -> Callable[[Any, Any], Test]:
    return lambda wanted, schema: lambda value: not isinstance(value, kind) or measure(value) <= wanted


_MAKERS: Mapping[str, Callable[[Any, Any], Test | None]] = {
    "type": _type,
    "enum": _enum,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "pattern": _pattern,
    "minLength": _least(str, len),
    "maxLength": _most(str, len),
    "minItems": _least(list, len),
    "maxItems": _most(list, len),
    "minProperties": _least(dict, len),
    "maxProperties": _most(dict, len),
    "minimum": _least(int | float, lambda value: value),
    "maximum": _most(int | float, lambda value: value),
}
