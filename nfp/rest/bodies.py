"""Reading JSON bodies with limits on size and nesting."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from twisted.web.iweb import IRequest

from nfp.model.errors import Invalid
from nfp.rest.errors import TooLarge, UnsupportedMediaType

MAX_BODY = 1024 * 1024
"""Bytes of body that are taken unless a server says otherwise."""
MAX_DEPTH = 32
"""Levels of nesting that are taken unless a server says otherwise."""


def read_json(request: IRequest, *, limit: int = MAX_BODY, depth: int = MAX_DEPTH) -> Any:
    """Read the request's body as JSON.

    The site that serves the application should be a :func:`nfp.rest.site.json_site`: it refuses a
    long body before it is buffered; here its length is only checked again.

    :param limit: bytes.
    :param depth: levels of objects and arrays.
    :raises UnsupportedMediaType: it does not say that it is JSON.
    :raises TooLarge: longer than *limit* or nested deeper than *depth*.
    :raises Invalid: it is not JSON.
    """
    declared = request.requestHeaders.getRawHeaders("Content-Length") or ["0"]
    if declared[0].isdigit() and int(declared[0]) > limit:
        raise too_large(limit)
    _check_type(request)
    data = request.content.read(limit + 1)
    if len(data) > limit:
        raise too_large(limit)
    return parse_json(data, depth=depth)


def too_large(limit: int) -> TooLarge:
    """The error that says what the limit is."""
    return TooLarge(f"the body may have at most {limit} bytes", field="body")


def parse_json(data: bytes, *, depth: int = MAX_DEPTH) -> Any:
    """Parse JSON text that came from outside.

    :raises TooLarge: nested deeper than *depth*.
    :raises Invalid: it is not JSON; ``NaN``, infinities and halves of surrogate pairs are not.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise TooLarge(f"the body may be nested at most {depth} levels deep", field="body") from None
    except ValueError as problem:
        raise Invalid(f"not JSON: {problem}", field="body") from None
    if _deeper_than(value, depth):
        raise TooLarge(f"the body may be nested at most {depth} levels deep", field="body")
    return value


def _check_type(request: IRequest) -> None:
    header = (request.requestHeaders.getRawHeaders("Content-Type") or [""])[0]
    kind, _, parameters = header.partition(";")
    if kind.strip().lower() != "application/json":
        raise UnsupportedMediaType("expected application/json", field="Content-Type")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8"):
        raise UnsupportedMediaType("expected UTF-8", field="Content-Type")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _deeper_than(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)  # type: ignore[attr-defined]
        ]
    return True
