"""Arguments that hold JSON, or name a file that does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nfp.operator.cli.bridge import CommandFailed

PREFIXES = ("heat_config:", "config_init:", "ansible:", "custom_json:")
"""What a ``service_config`` that is not our own JSON begins with (``contract.md`` section 2)."""


def read_object(text: str, option: str) -> dict[str, Any]:
    """Read a JSON object.

    :param text: the object itself, a file's name, or ``-`` for standard input.
    :param option: what the operator called it.
    :raises CommandFailed: it is none.
    """
    value = _parsed(_content(text, option), option)
    if not isinstance(value, dict):
        raise CommandFailed(f"{option}: expected a JSON object")
    return value


def read_config(text: str, option: str) -> dict[str, Any] | str:
    """Read a service configuration: a JSON object, or text with one of :data:`PREFIXES`.

    :raises CommandFailed: it is neither.
    """
    content = _content(text, option)
    if content.lstrip().startswith(PREFIXES):
        return content
    value = _parsed(content, option)
    if not isinstance(value, dict):
        raise CommandFailed(f"{option}: expected a JSON object")
    return value


def _content(text: str, option: str) -> str:
    if text.lstrip().startswith(("{", "[", *PREFIXES)):
        return text
    try:
        return sys.stdin.read() if text == "-" else Path(text).read_text("utf-8")
    except OSError as error:
        raise CommandFailed(f"{option}: {text}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{option}: {text}: not UTF-8 text") from None


def _parsed(content: str, option: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise CommandFailed(f"{option}: not JSON: {error}") from None
