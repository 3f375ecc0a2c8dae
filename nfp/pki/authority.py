"""A small certificate authority in a directory: who may talk to whom inside one deployment.

``ca.key`` and ``ca.pem`` are the authority, ``<name>.pem`` is a certificate with its key.  Every
file appears whole or not at all, keys are readable by their owner only, and asking twice for the
same thing gives the same files.  Names are DNS SANs: ``configurator.<tenant>``, ``agent.<host>``,
``device.<host>``.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nfp.model.errors import Invalid, NotFound

CA_KEY = "ca.key"
CA_CERTIFICATE = "ca.pem"
CA_LIFE = timedelta(days=3650)
LIFE = timedelta(days=365)
SKEW = timedelta(minutes=5)
"""How far the clocks of two hosts may differ without a new certificate being refused."""

_NAME = re.compile(r"(?!ca$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_DIRECTORY_MODE = 0o700

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether two thirds of the certificate's life are over: time to renew."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= start + (end - start) * 2 / 3


def read_certificate(path: str | Path) -> x509.Certificate:
    """The first certificate in a PEM file.

    :raises OSError: it cannot be read.
    :raises ValueError: it holds none.
    """
    return x509.load_pem_x509_certificates(Path(path).read_bytes())[0]


class Authority:
    """Issues certificates; made by :meth:`create` or :meth:`load`.

    :ivar directory: where the files are.
    """

    def __init__(
        self, directory: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, now: Now
    ) -> None:
        self.directory = directory
        self._key = key
        self._certificate = certificate
        self._now = now

    @classmethod
    def create(cls, directory: str | Path, *, life: timedelta = CA_LIFE, now: Now = utc_now) -> Authority:
        """Make an authority in *directory*, or load the one that is there.

        :param life: how long its certificate is valid.
        """
        where = Path(directory)
        where.mkdir(parents=True, exist_ok=True, mode=_DIRECTORY_MODE)
        with _locked(where):
            if not (where / CA_CERTIFICATE).exists():
                # The key is written first: a certificate without its key could never sign.
                key = _key_in(where / CA_KEY)
                _write(where / CA_CERTIFICATE, _pem(_self_signed(key, life, now())), 0o644)
        return cls.load(where, now=now)

    @classmethod
    def load(cls, directory: str | Path, *, now: Now = utc_now) -> Authority:
        """Open the authority in *directory*.

        :raises NotFound: there is none.
        :raises ValueError: its files do not belong together.
        """
        where = Path(directory)
        try:
            key = _read_key(where / CA_KEY)
            bundle = x509.load_pem_x509_certificates((where / CA_CERTIFICATE).read_bytes())
        except FileNotFoundError as problem:
            raise NotFound(f"there is no certificate authority in {where}") from problem
        mine = [one for one in bundle if one.public_key() == key.public_key()]
        if not mine:
            raise ValueError(f"{where / CA_CERTIFICATE} holds no certificate of {CA_KEY}")
        return cls(where, key, mine[0], now)

    @property
    def certificate(self) -> x509.Certificate:
        """The authority's own certificate."""
        return self._certificate

    @property
    def ca_path(self) -> Path:
        """The PEM file that everybody trusts."""
        return self.directory / CA_CERTIFICATE

    def path(self, name: str) -> Path:
        """Where the certificate and key called *name* are, once issued."""
        return self.directory / f"{_checked(name)}.pem"

    def issue(
        self,
        name: str,
        dns: Sequence[str] | None = None,
        ip: Sequence[str] = (),
        *,
        client: bool = True,
        server: bool = True,
        life: timedelta = LIFE,
    ) -> Path:
        """Write ``<name>.pem`` with a certificate and its key, unless a good one is there.

        Good means: of this authority, for the same names and uses, and not yet due for renewal.

        :param dns: its DNS names, no wildcards; *name* alone by default.
        :param ip: its IP addresses.
        :param client: it may open connections.
        :param server: it may answer them.
        :return: the file's path.
        :raises Invalid: a name that cannot be one.
        """
        path = self.path(name)
        wanted = _Wanted(
            name,
            tuple(_checked(one) for one in ([name] if dns is None else dns)),
            tuple(_address(one) for one in ip),
            client,
            server,
        )
        with _locked(self.directory):
            if not self._good(path, wanted):
                key = ec.generate_private_key(ec.SECP256R1())
                certificate = self._sign(wanted, key, life)
                _write(path, _pem(certificate) + _key_pem(key), 0o600)
        return path

    def _good(self, path: Path, wanted: _Wanted) -> bool:
        try:
            there = read_certificate(path)
            key = _read_key(path)
            there.verify_directly_issued_by(self._certificate)
        except Exception:  # noqa: BLE001 -- whatever is wrong with it, a new one replaces it
            return False
        return (
            there.public_key() == key.public_key()
            and not due(there, self._now())
            and all(
                there.extensions.get_extension_for_class(type(one)).value == one for one in wanted.asked()
            )
        )

    def _sign(self, wanted: _Wanted, key: ec.EllipticCurvePrivateKey, life: timedelta) -> x509.Certificate:
        issuer = self._certificate
        start = self._now() - SKEW
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(wanted.name))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(min(start + life, issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        for extension in wanted.asked():
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class _Wanted:
    """What a certificate is to say."""

    def __init__(
        self,
        name: str,
        dns: tuple[str, ...],
        ip: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...],
        client: bool,
        server: bool,
    ) -> None:
        self.name = name
        self._names = x509.SubjectAlternativeName(
            [*(x509.DNSName(one) for one in dns), *(x509.IPAddress(one) for one in ip)]
        )
        uses = []
        if server:
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        if client:
            uses.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        if not uses:
            raise Invalid("a certificate is for a client, a server, or both", field="client")
        self._uses = x509.ExtendedKeyUsage(uses)

    def asked(self) -> tuple[x509.SubjectAlternativeName, x509.ExtendedKeyUsage]:
        """The extensions that must be equal for a certificate to stay."""
        return self._names, self._uses


def _self_signed(key: ec.EllipticCurvePrivateKey, life: timedelta, now: datetime) -> x509.Certificate:
    # A name of its own keeps two authorities apart while both are trusted.
    name = _named(f"nfp-ca-{x509.random_serial_number():x}"[:24])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now - SKEW + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _checked(name: str) -> str:
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise Invalid(f"expected a DNS name in lower case, got {name!r}", field="name")
    return name


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"expected an IP address, got {text!r}", field="ip") from None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no elliptic curve key")
    return key


def _key_in(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in *path*, made now if there is none."""
    if not path.exists():
        _write(path, _key_pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
    return _read_key(path)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Let *path* hold *data* from one moment to the next, also across a power loss."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes from issuing in *directory* meanwhile."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
