"""Commands of ``nfp`` for the embedded deployment: ``up``, ``lab attach``, ``lab run``, ``lab detach``.

Each imports what it needs when it runs: ``lab run`` must not wait for database and reactor.
"""

from __future__ import annotations

import argparse
import sys

from cliff.command import Command

from nfp.embedded.state_dir import StateDir

STATE_DIR_HELP = "Directory of the deployment: files, logs, sockets."


def _with_state_dir(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--state-dir", required=True, metavar="DIR", help=STATE_DIR_HELP)
    return parser


class Up(Command):
    """Run everything on this machine, in the foreground, until SIGTERM or SIGINT."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say what may be asked."""
        parser = _with_state_dir(super().get_parser(prog_name))
        parser.add_argument(
            "--config", action="append", default=[], metavar="FILE", help="INI file; what it says wins."
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Run until told to stop."""
        from nfp.embedded.tap import main

        return main(parsed_args.state_dir, parsed_args.config, sys.stdout, sys.stderr)


class LabAttach(Command):
    """Put a namespace of this machine on a network, and let the directory know its port."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say what may be asked."""
        parser = _with_state_dir(super().get_parser(prog_name))
        parser.add_argument("--network", required=True, metavar="ID", help="Network to be on.")
        parser.add_argument(
            "--address", required=True, metavar="CIDR", help="Its address with prefix length: 10.0.0.5/24."
        )
        parser.add_argument("--mac", metavar="MAC", help="Default: computed from the names.")
        parser.add_argument("--gateway", metavar="IP", help="Next hop of its default route.")
        parser.add_argument("--port-id", metavar="ID", help="Default: computed from the names.")
        parser.add_argument("--subnet-id", metavar="ID", help="Subnet that the address is of.")
        parser.add_argument("name", metavar="NAME", help="What to call the host.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Attach it, and say where it is."""
        from nfp.embedded import lab

        state = StateDir.at(parsed_args.state_dir)
        wanted = lab.host(
            state,
            parsed_args.name,
            network=parsed_args.network,
            address=parsed_args.address,
            mac=parsed_args.mac,
            gateway=parsed_args.gateway,
            port_id=parsed_args.port_id,
            subnet_id=parsed_args.subnet_id,
        )
        namespace = lab.attach(state, wanted)
        self.app.stdout.write(
            f"{wanted.name} is {wanted.address} on {wanted.network}: "
            f"namespace {namespace}, port {wanted.port_id}\n"
        )


class LabRun(Command):
    """Run a command on a lab host; its standard streams and exit status are the command's own."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say what may be asked."""
        parser = _with_state_dir(super().get_parser(prog_name))
        parser.add_argument("name", metavar="NAME", help="The host, as it was attached.")
        parser.add_argument(
            "command", metavar="COMMAND", nargs=argparse.REMAINDER, help="-- and what to run."
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Become the command."""
        from nfp.embedded.entering import enter

        command = list(parsed_args.command)
        if command[:1] == ["--"]:
            command = command[1:]
        sys.stdout.flush()
        enter(StateDir.at(parsed_args.state_dir), parsed_args.name, command)


class LabDetach(Command):
    """End what runs on a lab host, and remove it."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say what may be asked."""
        parser = _with_state_dir(super().get_parser(prog_name))
        parser.add_argument("name", metavar="NAME", help="The host, as it was attached.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Detach it."""
        from nfp.embedded import lab

        lab.detach(StateDir.at(parsed_args.state_dir), parsed_args.name)
        self.app.stdout.write(f"{parsed_args.name} is detached\n")
