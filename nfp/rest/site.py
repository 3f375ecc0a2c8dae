"""The HTTP server side: a site that refuses long bodies before they are buffered."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.logger import Logger
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from nfp.rest.bodies import MAX_BODY, too_large
from nfp.rest.errors import answer_error, request_id_of

_log = Logger()

IDLE = 60.0
"""Seconds that a kept connection may be silent between requests."""
PATIENCE = 8
"""How many times the limit a refused body is read and dropped, so that its sender gets to read the 413."""


class JsonSite(Site):
    """Serves a resource; see :func:`json_site`."""

    def __init__(self, resource: IResource, reactor: Any, max_body: int, idle: float) -> None:
        super().__init__(resource, reactor=reactor, timeout=idle)  # type: ignore[no-untyped-call]
        self.max_body = max_body
        self.displayTracebacks = False
        self.requestFactory = LimitedRequest

    def log(self, request: Any) -> None:
        """One debug event per request, in place of an access log."""
        _log.debug(
            "answered {method} {path} with {status}",
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("utf-8", "replace"),
            status=request.code,
            request_id=request_id_of(request),
        )


class LimitedRequest(Request):
    """A request whose body is dropped, not stored, as soon as it is known to be too long."""

    _received = 0
    _refused = False

    def _limit(self) -> int:
        site: JsonSite = self.channel.site  # type: ignore[attr-defined] # set by Site
        return site.max_body

    def gotLength(self, length: int | None) -> None:
        """See what the caller declared (``None``: chunked, so nothing is known yet)."""
        self._refused = length is not None and length > self._limit()
        super().gotLength(0 if self._refused else length)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        """Keep or drop a piece of the body."""
        self._received += len(data)
        if self._received > self._limit():
            self._refused = True
            self.content = BytesIO()
        if not self._refused:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]
        elif self._received > PATIENCE * self._limit():
            self.channel.loseConnection()

    def process(self) -> None:
        """Answer: 413 here, anything else by the site's resource."""
        if not self._refused:
            super().process()  # type: ignore[no-untyped-call]
            return
        body = answer_error(self, too_large(self._limit()))
        self.write(body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


def json_site(resource: IResource, reactor: Any, *, max_body: int = MAX_BODY, idle: float = IDLE) -> JsonSite:
    """Make the site that serves *resource* (``app.resource()`` of a Klein application).

    :param max_body: bytes; a longer body is answered 413 and never stored.
    :param idle: seconds that a connection may be silent between two requests.
    """
    return JsonSite(resource, reactor, max_body, idle)
