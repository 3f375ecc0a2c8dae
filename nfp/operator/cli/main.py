"""The command line as a whole: options that hold for all commands, and where commands come from."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from cliff.app import App
from cliff.commandmanager import CommandManager

from nfp import __version__
from nfp.operator import config
from nfp.operator.cli import pki, service
from nfp.operator.cli.bridge import Bridge, RpcBridge

ENTRY_POINTS = "nfp.commands"
"""Commands of other packages: a name with underscores for spaces → a cliff command."""

OURS: Mapping[str, Any] = {
    "service list": service.List,
    "service show": service.Show,
    "service create": service.Create,
    "service update": service.Update,
    "service delete": service.Delete,
    "pki init": pki.Init,
    "pki issue": pki.Issue,
    "pki show": pki.Show,
}


class Commands(CommandManager):
    """Our commands, and those of other packages; theirs are imported only when they are run."""

    def load_commands(self, namespace: str) -> None:
        """Take what is registered in *namespace*; a name that is taken stays as it is."""
        self.group_list.append(namespace)
        for name, command in OURS.items():
            self.add_command(name, command)
        for found in entry_points(group=namespace):
            self.commands.setdefault(found.name.replace("_", " "), found)


class _Parser(argparse.ArgumentParser):
    """Leaves everything from the command's first word on to the command, whatever it looks like."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, options.words


class Nfp(App):
    """The command ``nfp``.

    :ivar environ: the environment.
    """

    NAME = "nfp"
    DEFAULT_VERBOSE_LEVEL = 0  # warnings only: libraries are talkative

    def __init__(self, environ: Mapping[str, str], **streams: Any) -> None:
        self.environ = environ
        super().__init__(
            description="Network services of the NFP framework.",
            version=__version__,
            command_manager=Commands(ENTRY_POINTS),
            deferred_help=True,
            **streams,
        )

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: Any = None
    ) -> Any:
        """Options that come before the command."""
        built = super().build_option_parser(description, version, argparse_kwargs)
        parser = _Parser(
            prog=self.NAME, description=description, add_help=False, parents=[built], allow_abbrev=False
        )
        parser.add_argument(
            "--config",
            "--config-file",
            dest="config_files",
            metavar="FILE",
            action="append",
            default=[],
            help=f"configuration file, repeatable; else ${config.FILES_VARIABLE} or {config.DEFAULT_FILE}",
        )
        parser.add_argument("--state-dir", metavar="DIR", help="the deployment that 'nfp up' keeps in DIR")
        parser.add_argument(
            "--transport-url", metavar="URL", help="the broker, in place of the configured one"
        )
        parser.add_argument(
            "--rpc-timeout", metavar="S", type=float, default=10.0, help="seconds that a call may take (10)"
        )
        parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND …", help="what to do")
        return parser

    def config_files(self, command: argparse.Namespace | None = None) -> list[str]:
        """The configuration files that the options name, or the default ones.

        :param command: the command's own options; they go before those in front of it.
        """
        return config.files(
            getattr(command, "state_dir", None) or self.options.state_dir,
            getattr(command, "config_files", None) or self.options.config_files,
            self.environ,
        )

    def bridge(self, command: argparse.Namespace) -> Bridge:
        """The way to the manager.

        :param command: the command's own options.
        :raises SettingsError: the configuration is not good.
        """
        settings = config.read(
            self.config_files(command), command.transport_url or self.options.transport_url
        )
        return RpcBridge(settings, self.options.rpc_timeout, self.options.debug)

    def interact(self) -> None:
        """Without a command there is nothing to do but help."""
        self.run_subcommand(["help"])
        raise SystemExit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    :param argv: words after the program's name.
    :return: the exit status.
    """
    return int(Nfp(os.environ).run(list(sys.argv[1:] if argv is None else argv)))


if __name__ == "__main__":
    sys.exit(main())
