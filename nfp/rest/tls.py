"""Mutual TLS: both sides show a certificate of our CA, and names are checked by DNS SAN.

Certificates are read again when their files change, at the next handshake: a renewal drops no
connection.  A CA file may hold several certificates, as it does while one CA takes over from another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic, TypeVar

from cryptography import x509
from OpenSSL.crypto import X509
from OpenSSL.SSL import Connection
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from nfp.rest.errors import Forbidden

_log = Logger()
T = TypeVar("T")


def server_options(certificate_path: str, ca_path: str) -> IOpenSSLServerConnectionCreator:
    """TLS for a server that demands a client certificate of our CA.

    :param certificate_path: PEM file with certificate and key.
    :param ca_path: PEM file with the CA certificates that are trusted, and no others are.
    :raises OSError: a file cannot be read.
    :raises ValueError: a file is not what it should be.
    """
    return _Server(_Fresh((certificate_path, ca_path), lambda: _options(certificate_path, ca_path)))


def client_options(server_name: str, certificate_path: str, ca_path: str) -> IOpenSSLClientConnectionCreator:
    """TLS for a client that shows a certificate and expects *server_name* among the server's DNS SANs.

    :raises OSError: a file cannot be read.
    :raises ValueError: a file is not what it should be.
    """

    def build() -> Any:
        mine, trusted = _read(certificate_path, ca_path)
        return optionsForClientTLS(
            server_name,
            trustRoot=trustRootFromCertificates(trusted),
            clientCertificate=mine,
            extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2},
        )

    return _Client(_Fresh((certificate_path, ca_path), build))


def over_tls(options: IOpenSSLServerConnectionCreator, factory: Any) -> TLSMemoryBIOFactory:
    """Wrap a server's protocol factory in TLS."""
    return TLSMemoryBIOFactory(options, False, factory)


def peer_names(transport: Any) -> list[str]:
    """DNS names in the certificate that the other end has shown; none without TLS or certificate."""
    ask = getattr(transport, "getPeerCertificate", None)
    certificate: X509 | None = ask() if ask is not None else None
    if certificate is None:
        return []
    try:
        names = certificate.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.DNSName)


def matches(names: Sequence[str], patterns: Sequence[str]) -> str | None:
    """The first of *names* that one of the fnmatch *patterns* allows."""
    return next((name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)), None)


def check_peer(request: Any, patterns: Sequence[str]) -> str:
    """Say who sent *request*, by certificate.

    :param patterns: fnmatch patterns of the names that may call.
    :raises Forbidden: none of the caller's names is among them.
    """
    names = peer_names(request.channel.transport)
    name = matches(names, patterns)
    if name is None:
        raise Forbidden(f"the certificate's names {names} are not allowed here")
    return name


def _read(certificate_path: str, ca_path: str) -> tuple[PrivateCertificate, list[Certificate]]:
    text = Path(certificate_path).read_bytes()
    trusted = x509.load_pem_x509_certificates(Path(ca_path).read_bytes())
    try:
        mine = PrivateCertificate.loadPEM(text)
    except Exception as problem:
        raise ValueError(f"{certificate_path} does not hold a certificate and its key") from problem
    return mine, [Certificate(X509.from_cryptography(one)) for one in trusted]


def _options(certificate_path: str, ca_path: str) -> CertificateOptions:
    mine, trusted = _read(certificate_path, ca_path)
    return CertificateOptions(
        privateKey=mine.privateKey.original,
        certificate=mine.original,
        trustRoot=trustRootFromCertificates(trusted),
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )


class _Fresh(Generic[T]):
    """A value made from files, made again when they change; while they are unreadable the last one stays."""

    def __init__(self, paths: Sequence[str], build: Callable[[], T]) -> None:
        self._paths = paths
        self._build = build
        self._seen = self._state()
        self._value = build()

    def _state(self) -> list[tuple[int, int]]:
        found = [Path(path).stat() for path in self._paths]
        return [(one.st_mtime_ns, one.st_ino) for one in found]

    def get(self) -> T:
        try:
            state = self._state()
            if state != self._seen:
                self._value = self._build()
                self._seen = state
        except (OSError, ValueError):
            _log.failure(
                "certificates could not be read again, those of before stay in use: {paths}",
                Failure(),
                paths=list(self._paths),
            )
        return self._value


@implementer(IOpenSSLServerConnectionCreator)
class _Server:
    def __init__(self, fresh: _Fresh[CertificateOptions]) -> None:
        self._fresh = fresh

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        return self._fresh.get().serverConnectionForTLS(protocol)


@implementer(IOpenSSLClientConnectionCreator)
class _Client:
    def __init__(self, fresh: _Fresh[Any]) -> None:
        self._fresh = fresh

    def clientConnectionForTLS(self, protocol: Any) -> Connection:
        connection: Connection = self._fresh.get().clientConnectionForTLS(protocol)
        return connection
