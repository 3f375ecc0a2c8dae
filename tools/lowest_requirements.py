"""Print what setup.py requires, each pinned at its lower bound: the oldest set that we say works.

    python tools/lowest_requirements.py [EXTRA-PACKAGE ...]

Packages named on the command line are looked up among the extras and pinned likewise: what the unit
tests need beside the requirements themselves.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SETUP = Path(__file__).resolve().parent.parent / "setup.py"

_REQUIREMENT = re.compile(
    r"(?P<what>[A-Za-z0-9._-]+(?:\[[^\]]*\])?)\s*(?P<how>==|>=)\s*(?P<version>[0-9][0-9a-z.]*)"
)


class UnboundedError(Exception):
    """A requirement names no lower bound."""


def declared(source: str) -> Mapping[str, Any]:
    """Read ``install_requires`` and ``extras_require`` out of setup.py, without running it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup":
            wanted = ("install_requires", "extras_require")
            return {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg in wanted}
    raise LookupError(f"{SETUP} does not call setup()")


def lowest(requirement: str) -> str:
    """Pin a requirement at its lower bound.

    :raises UnboundedError: it has none.
    """
    found = _REQUIREMENT.fullmatch(requirement.strip())
    if found is None:
        raise UnboundedError(f"{requirement!r} names no single lower bound")
    return f"{found['what']}=={found['version']}"


def name_of(requirement: str) -> str:
    """A requirement's package, as people write it."""
    return re.split(r"[\[<>=!~ ]", requirement, maxsplit=1)[0].lower()


def pinned(source: str, more: Sequence[str]) -> list[str]:
    """Everything that is required, pinned.

    :param more: packages of the extras to add.
    """
    said = declared(source)
    extras = {name_of(text): text for texts in said["extras_require"].values() for text in texts}
    return [lowest(text) for text in (*said["install_requires"], *(extras[name.lower()] for name in more))]


if __name__ == "__main__":
    sys.stdout.write("\n".join(pinned(SETUP.read_text(), sys.argv[1:])) + "\n")
