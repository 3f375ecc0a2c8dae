"""How values look in a table; JSON and YAML get them as they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from cliff.columns import FormattableColumn

BLUEPRINT = (
    "id",
    "name",
    "description",
    "tenant_id",
    "service_id",
    "service_chain_id",
    "service_profile_id",
    "service_config",
    "heat_stack_id",
    "status",
    "status_description",
)
"""A network service's attributes in the blueprint's order; others follow."""


class Tree(FormattableColumn[Any]):
    """Nested values."""

    def human_readable(self) -> str:
        """JSON on as many lines as it takes."""
        return json.dumps(self._value, indent=2) if self._value else ""


class Time(FormattableColumn[Any]):
    """Seconds since 1970."""

    def human_readable(self) -> str:
        """ISO 8601, UTC."""
        return datetime.fromtimestamp(self._value, UTC).isoformat(timespec="seconds")


class Text(FormattableColumn[Any]):
    """Text that may be missing."""

    def human_readable(self) -> str:
        """Nothing for a missing one."""
        return "" if self._value is None else str(self._value)


def cell(name: str, value: Any) -> Any:
    """Wrap the value of an attribute."""
    if isinstance(value, dict | list):
        return Tree(value)
    if name.endswith("_at") and isinstance(value, int | float):
        return Time(value)
    return Text(value)


def names_of(service: dict[str, Any]) -> tuple[str, ...]:
    """Attribute names in the order that they are shown in."""
    return (*(name for name in BLUEPRINT if name in service), *(n for n in service if n not in BLUEPRINT))
