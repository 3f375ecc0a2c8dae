"""JSON Schema checks whose errors name the field and what was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from nfp.model.conforming import Test, conforming
from nfp.model.digest import canonical
from nfp.model.errors import Invalid

Schema = Mapping[str, object]


@lru_cache(maxsize=256)
def _validator(text: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(text), format_checker=Draft202012Validator.FORMAT_CHECKER)


@lru_cache(maxsize=256)
def _conforming(text: str) -> Test | None:
    return conforming(json.loads(text))


_texts: dict[int, tuple[Schema, str]] = {}


def _text_of(schema: Schema) -> str:
    """Canonical text of a schema, remembered by identity: schemas are module constants."""
    known = _texts.get(id(schema))
    if known is None or known[0] is not schema:
        known = _texts[id(schema)] = (schema, canonical(schema))
    return known[1]


def path_of(error: ValidationError) -> str:
    """Write where an error is: ``rules[2].protocol``."""
    path = ""
    for part in error.absolute_path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    if (
        error.validator == "required"
        and isinstance(error.instance, Mapping)
        and isinstance(error.validator_value, list)
    ):
        missing = [name for name in error.validator_value if name not in error.instance]
        if missing:
            path += f".{missing[0]}" if path else str(missing[0])
    return path


def check(instance: object, schema: Schema, field: str = "") -> None:
    """Check *instance* against *schema*.

    :param field: what the instance itself is called; put before the path.
    :raises Invalid: naming the field and what was expected there.
    """
    text = _text_of(schema)
    conforms = _conforming(text)
    if conforms is not None and conforms(instance):
        return
    error = best_match(_validator(text).iter_errors(instance))
    if error is None:
        return
    path = path_of(error)
    where = f"{field}{'' if path.startswith('[') or not path or not field else '.'}{path}"
    expected = error.schema.get("description") if isinstance(error.schema, Mapping) else None
    if error.validator == "required":
        message = "is required"
    elif expected:
        message = f"expected {expected}, got {_short(error.instance)}"
    else:
        message = _short_text(error.message)
    raise Invalid(message, field=where or None)


def _short(value: object) -> str:
    return _short_text(repr(value))


def _short_text(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
