"""Ways to reach an HTTP server: over a UNIX socket or TCP, with or without TLS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint

CONNECT_TIMEOUT = 5.0
"""Seconds until a connection must stand."""


@dataclass(frozen=True)
class Dial:
    """How to reach one server.

    :ivar base: the beginning of its URLs; names the server, for the Host header and in errors.
    :ivar endpoint: makes the way to it on a reactor.
    """

    base: str
    endpoint: Callable[[Any], IStreamClientEndpoint]


def over_unix(
    path: str,
    *,
    server_name: str = "localhost",
    tls: IOpenSSLClientConnectionCreator | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
) -> Dial:
    """Reach a server by a UNIX socket.

    :param server_name: what it is called in requests; with TLS also the name in its certificate.
    :param tls: from :func:`nfp.rest.tls.client_options`; ``None``: plain HTTP.
    """
    return Dial(
        _base(server_name, tls),
        lambda reactor: _wrapped(UNIXClientEndpoint(reactor, path, connect_timeout), tls),
    )


def over_tcp(
    host: str,
    port: int,
    *,
    server_name: str | None = None,
    tls: IOpenSSLClientConnectionCreator | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
) -> Dial:
    """Reach a server by TCP.

    :param host: an IPv4 or IPv6 literal, or a name.
    :param server_name: what it is called in requests; *host* by default.
    :param tls: from :func:`nfp.rest.tls.client_options`; ``None``: plain HTTP.
    """
    name = server_name or (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return Dial(
        _base(name, tls),
        lambda reactor: _wrapped(tcp_endpoint(reactor, host, port, connect_timeout), tls),
    )


def tcp_endpoint(reactor: Any, host: str, port: int, timeout: float) -> IStreamClientEndpoint:
    """The way to *host*, an IPv4 or IPv6 literal or a name; only a name asks a resolver."""
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout)
    return HostnameEndpoint(reactor, host, port, timeout)


def _base(name: str, tls: object) -> str:
    return f"{'http' if tls is None else 'https'}://{name}"


def _wrapped(
    endpoint: IStreamClientEndpoint, tls: IOpenSSLClientConnectionCreator | None
) -> IStreamClientEndpoint:
    return endpoint if tls is None else wrapClientTLS(tls, endpoint)
