"""``nfp database upgrade | check``: the schema of the manager's database."""

from __future__ import annotations

import argparse
from typing import Any

from cliff.command import Command
from oslo_config import cfg

from nfp.daemon.settings import load
from nfp.manager.store import migrate

_OPTS = {
    "database": [cfg.StrOpt("connection", required=True, secret=True, help="URL of the manager's database.")]
}


class _OnDatabase(Command):
    app: Any

    def get_parser(self, prog_name: str) -> Any:
        """Which database."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--state-dir", metavar="DIR", help="the deployment that 'nfp up' keeps in DIR")
        parser.add_argument("--config-file", dest="config_files", metavar="FILE", action="append")
        return parser

    def url(self, parsed_args: argparse.Namespace) -> str:
        """The database that the configuration names.

        :raises nfp.daemon.settings.SettingsError: it names none.
        """
        found: str = load(self.app.config_files(parsed_args), _OPTS).database.connection
        return found


class Upgrade(_OnDatabase):
    """Bring the database's schema to this release; the managers must be stopped."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Upgrade, and say from what to what."""
        url = self.url(parsed_args)
        before = migrate.current(url)
        migrate.upgrade(url)
        self.app.stdout.write(f"schema {before or 'none'} -> {migrate.current(url)}\n")


class Check(_OnDatabase):
    """Say whether the database's schema is the one of this release; fail if it is not."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Check, and name the schema."""
        url = self.url(parsed_args)
        migrate.check(url)
        self.app.stdout.write(f"schema {migrate.current(url)}\n")
