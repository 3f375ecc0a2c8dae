"""``nfp pki init | issue | show``: the certificate authority of a deployment."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from cliff.command import Command
from cliff.lister import Lister
from cryptography import x509
from cryptography.x509.oid import NameOID

from nfp.operator.cli.bridge import CommandFailed
from nfp.pki.authority import CA_LIFE, LIFE, Authority, due, read_certificate, utc_now


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir", metavar="DIR", help="the authority's directory (default: pki under --state-dir)"
    )


class _InDirectory:
    app: Any

    def directory(self, parsed_args: argparse.Namespace) -> Path:
        """Where the authority is.

        :raises CommandFailed: nobody said.
        """
        if parsed_args.dir:
            return Path(parsed_args.dir).expanduser()
        if self.app.options.state_dir:
            return Path(self.app.options.state_dir).expanduser() / "pki"
        raise CommandFailed("where? give --dir")

    def load(self, parsed_args: argparse.Namespace) -> Authority:
        """Open the authority.

        :raises CommandFailed: its files are damaged.
        """
        directory = self.directory(parsed_args)
        try:
            return Authority.load(directory)
        except (ValueError, OSError) as error:
            raise CommandFailed(f"{directory}: {error}") from None


class Init(_InDirectory, Command):
    """Make a certificate authority; one that is there stays."""

    def get_parser(self, prog_name: str) -> Any:
        """Where, for how long."""
        parser = super().get_parser(prog_name)
        _add_directory(parser)
        parser.add_argument(
            "--days", metavar="N", type=int, default=CA_LIFE.days, help="how long it is valid"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Make it."""
        directory = self.directory(parsed_args)
        try:
            made = Authority.create(directory, life=timedelta(days=parsed_args.days))
        except (ValueError, OSError) as error:
            raise CommandFailed(f"{directory}: {error}") from None
        self.app.stdout.write(f"{made.ca_path}\n")


class Issue(_InDirectory, Command):
    """Write NAME.pem, a certificate with its key; a good one that is there stays."""

    def get_parser(self, prog_name: str) -> Any:
        """For whom."""
        parser = super().get_parser(prog_name)
        _add_directory(parser)
        parser.add_argument("name", metavar="NAME", help="configurator.TENANT, agent.HOST, device.HOST")
        parser.add_argument("--dns", metavar="NAME", action="append", help="DNS names in place of NAME")
        parser.add_argument("--ip", metavar="ADDRESS", action="append", default=[], help="IP addresses")
        parser.add_argument("--days", metavar="N", type=int, default=LIFE.days, help="how long it is valid")
        use = parser.add_mutually_exclusive_group()
        use.add_argument("--client-only", action="store_true", help="it may not serve")
        use.add_argument("--server-only", action="store_true", help="it may not connect")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Issue it."""
        path = self.load(parsed_args).issue(
            parsed_args.name,
            parsed_args.dns,
            parsed_args.ip,
            client=not parsed_args.server_only,
            server=not parsed_args.client_only,
            life=timedelta(days=parsed_args.days),
        )
        self.app.stdout.write(f"{path}\n")


class Show(_InDirectory, Lister):
    """Show the authority and what it has issued."""

    def get_parser(self, prog_name: str) -> Any:
        """Which authority."""
        parser = super().get_parser(prog_name)
        _add_directory(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Any]:
        """Read the certificates."""
        authority = self.load(parsed_args)
        files = sorted(authority.directory.glob("*.pem"), key=lambda path: (path != authority.ca_path, path))
        return ("name", "names", "not_after", "renewal", "file"), [_described(path) for path in files]


def _described(path: Path) -> tuple[str, str, str, str, str]:
    try:
        certificate = read_certificate(path)
    except (ValueError, IndexError, OSError):
        return "", "", "", "unreadable", str(path)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    now = utc_now()
    if now >= certificate.not_valid_after_utc:
        renewal = "expired"
    else:
        renewal = "due" if due(certificate, now) else ""
    return (
        str(names[0].value) if names else "",
        ", ".join(_alternatives(certificate)),
        certificate.not_valid_after_utc.isoformat(timespec="seconds"),
        renewal,
        str(path),
    )


def _alternatives(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in found]
