"""Reads the pages of ``docs/``: sections, tables, fenced blocks, what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCED = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    :ivar mark: what an HTML comment on the line before it says: ``run``, ``file: NAME``.
    """

    mark: str
    language: str
    body: str


def paths() -> list[Path]:
    """All pages: those of ``docs/``, and those for everybody."""
    found = sorted((ROOT / "docs").glob("*.md"))
    return [*found, *(path for path in (ROOT / "README.md", ROOT / "CHANGELOG.md") if path.exists())]


def text(name: str) -> str:
    """A page of ``docs/``."""
    return (ROOT / "docs" / name).read_text()


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in _FENCED.finditer(page):
        yield Block(found["mark"] or "", found["language"], found["body"])


def marked(page: str, mark: str) -> list[Block]:
    """The fenced blocks whose mark begins with *mark*."""
    return [block for block in blocks(page) if block.mark.startswith(mark)]


def code(page: str) -> list[str]:
    """What stands in code marks outside of fenced blocks."""
    return _CODE.findall(_FENCED.sub("", page))


def commands(page: str) -> Iterator[str]:
    """Every line of a fenced block that somebody is meant to type, without the prompt."""
    for block in blocks(page):
        for line in block.body.splitlines():
            if block.language == "console" and line.startswith("$ "):
                yield line.removeprefix("$ ")
            elif block.language in ("", "sh", "bash") and re.match(r"(\.venv/bin/)?(nfp|make) ", line):
                yield line


def section(page: str, heading: str) -> str:
    """What stands under a heading of any level, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#+ |\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"there is no section {heading!r}")
    return found[1]


def table(page: str, heading: str) -> list[Mapping[str, str]]:
    """The rows of the first table under a heading, by the names of its columns."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    names, _, *rows = cells
    return [dict(zip(names, row, strict=True)) for row in rows]
