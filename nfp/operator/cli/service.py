"""``nfp service list | show | create | update | delete``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

from nfp.model.errors import NfpError
from nfp.model.states import ServiceStatus
from nfp.operator.cli import columns
from nfp.operator.cli.arguments import read_config, read_object
from nfp.operator.cli.bridge import CommandFailed
from nfp.operator.manager import Manager, Service
from nfp.operator.wait import NotSettled, describe, until_settled

COLUMNS = ("id", "name", "service_type", "service_vendor", "status", "status_description")
MORE_COLUMNS = ("tenant_id", "service_id", "service_chain_id", "created_at", "updated_at")
FILTERS = ("name", "tenant_id", "service_id", "service_chain_id", "service_type", "service_vendor", "status")


class _Operating:
    """What all have: the way to the manager, also by options behind the command's name."""

    app: Any

    def get_parser(self, prog_name: str) -> Any:
        """Options that lead to the manager."""
        parser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.add_argument("--state-dir", metavar="DIR", help="as before the command")
        parser.add_argument("--config-file", dest="config_files", metavar="FILE", action="append")
        parser.add_argument("--transport-url", metavar="URL", help="as before the command")
        return parser


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _sort_key(text: str) -> str:
    """``name:desc``, as OpenStack's clients have it, to the manager's ``-name``."""
    name, _, direction = text.partition(":")
    if direction not in ("", "asc", "desc"):
        raise CommandFailed(f"--sort: {text}: expected asc or desc after the colon")
    return f"-{name}" if direction == "desc" else name


class List(_Operating, Lister):
    """List network services."""

    def get_parser(self, prog_name: str) -> Any:
        """Filters, order, paging."""
        parser = super().get_parser(prog_name)
        for name in FILTERS:
            parser.add_argument(
                _option(name), metavar=name.upper(), action="append", help=f"only with this {name}"
            )
        parser.add_argument(
            "--sort", metavar="ATTRIBUTE", action="append", default=[], help="ATTRIBUTE:desc for descending"
        )
        parser.add_argument("--limit", metavar="N", type=int, help="show at most N")
        parser.add_argument("--marker", metavar="ID", help="begin after this one")
        parser.add_argument("--long", action="store_true", help="show more attributes")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Any]:
        """Ask the manager."""
        filters = {name: value for name in FILTERS if (value := getattr(parsed_args, name))}
        paged = parsed_args.limit is not None or parsed_args.marker is not None

        async def work(manager: Manager, clock: Any) -> list[Service]:
            sort = [_sort_key(text) for text in parsed_args.sort]
            if paged:
                return await manager.page(filters, sort, parsed_args.limit, parsed_args.marker)
            return await manager.every(filters, sort)

        shown = (*COLUMNS, *(MORE_COLUMNS if parsed_args.long else ()))
        found = self.app.bridge(parsed_args).run(work)
        return shown, [[columns.cell(name, one.get(name)) for name in shown] for one in found]


class Show(_Operating, ShowOne):
    """Show a network service."""

    def get_parser(self, prog_name: str) -> Any:
        """Which one."""
        parser = super().get_parser(prog_name)
        parser.add_argument("service", metavar="NAME_OR_ID")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the manager."""

        async def work(manager: Manager, clock: Any) -> Service:
            return await manager.find(parsed_args.service)

        return _shown(self.app.bridge(parsed_args).run(work))


def _shown(service: Service) -> tuple[Sequence[str], Sequence[Any]]:
    names = columns.names_of(service)
    return names, [columns.cell(name, service[name]) for name in names]


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", action="store_true", help="return when it is done; progress on standard error"
    )
    parser.add_argument(
        "--timeout", metavar="S", type=float, default=300.0, help="wait at most S seconds (300)"
    )


class _Waiting(_Operating):
    """What commands share that can wait."""

    def progress(self, seconds: float, text: str) -> None:
        """Show what is new."""
        self.app.stderr.write(f"{seconds:6.1f} s  {text}\n")
        self.app.stderr.flush()


class _Changing(_Waiting, ShowOne):
    """Sends attributes of a service, shows what came of it, and fails if that is not ACTIVE in the end."""

    failure: str | None = None

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run, print the service, then tell of its failure."""
        code: int = super().run(parsed_args)
        if self.failure is None:
            return code
        raise CommandFailed(self.failure)

    def add_attributes(self, parser: argparse.ArgumentParser) -> None:
        """Options for everything that may be changed later."""
        parser.add_argument("--file", metavar="JSON", help="the whole network_service; options come over it")
        parser.add_argument("--name")
        parser.add_argument("--description")
        parser.add_argument("--service-profile-id", metavar="ID")
        parser.add_argument("--service-type", help="FIREWALL, …")
        parser.add_argument("--vendor", help="who makes the device")
        parser.add_argument("--service-flavor", metavar="TEXT", help="as a service profile has it")
        parser.add_argument("--insertion-mode", metavar="MODE", help="l3, …")
        parser.add_argument("--config", metavar="FILE|JSON", help="the service's configuration")
        for side in ("provider", "consumer", "management"):
            parser.add_argument(f"--{side}", metavar="FILE|JSON", help=f"the {side} side: port, subnet, …")
        _add_wait(parser)

    def attributes(self, parsed_args: argparse.Namespace, *more: str) -> dict[str, Any]:
        """What the operator asked for.

        :param more: attributes that only this command has.
        """
        found: dict[str, Any] = read_object(parsed_args.file, "--file") if parsed_args.file else {}
        if isinstance(found.get("network_service"), dict):
            found = found["network_service"]
        for name in ("name", "description", "service_profile_id", *more):
            value = getattr(parsed_args, name)
            if value is not None:
                found[name] = value
        if parsed_args.config is not None:
            found["service_config"] = read_config(parsed_args.config, "--config")
        for side in ("provider", "consumer", "management"):
            value = getattr(parsed_args, side)
            if value is not None:
                found[side] = read_object(value, f"--{side}")
        profile = {
            name: value
            for name in ("service_type", "vendor", "service_flavor", "insertion_mode")
            if (value := getattr(parsed_args, name)) is not None
        }
        if profile:
            found["service_profile"] = {**(found.get("service_profile") or {}), **profile}
        if not found:
            raise CommandFailed("what? give --file or options")
        return found

    async def settle(
        self, manager: Manager, clock: Any, service: Service, parsed_args: argparse.Namespace
    ) -> Service:
        """Wait, if the operator wants that."""
        if not parsed_args.wait:
            return service
        identity = str(service["id"])
        try:
            seen = await until_settled(manager, clock, identity, parsed_args.timeout, self.progress)
        except NotSettled as error:
            self.failure = str(error)
            return await _as_now(manager, service)
        if seen is None:
            self.failure = f"network service {identity} was deleted meanwhile"
            return service
        if seen["status"] != ServiceStatus.ACTIVE:
            self.failure = f"network service {identity} is {describe(seen)}"
        return seen


async def _as_now(manager: Manager, service: Service) -> Service:
    try:
        return await manager.get(str(service["id"])) or service
    except NfpError:
        return service


class Create(_Changing):
    """Create a network service."""

    def get_parser(self, prog_name: str) -> Any:
        """What is wanted."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--id", metavar="UUID", help="its id; a repeat with the same id is harmless")
        for name in ("tenant_id", "service_id", "service_chain_id"):
            parser.add_argument(_option(name), metavar="ID")
        self.add_attributes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the manager."""
        wanted = self.attributes(parsed_args, "id", "tenant_id", "service_id", "service_chain_id")

        async def work(manager: Manager, clock: Any) -> Service:
            made = await manager.create(wanted)
            return await self.settle(manager, clock, made, parsed_args)

        return _shown(self.app.bridge(parsed_args).run(work))


class Update(_Changing):
    """Change a network service; what is not named stays."""

    def get_parser(self, prog_name: str) -> Any:
        """What is wanted."""
        parser = super().get_parser(prog_name)
        parser.add_argument("service", metavar="NAME_OR_ID")
        self.add_attributes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the manager."""
        changes = self.attributes(parsed_args)

        async def work(manager: Manager, clock: Any) -> Service:
            known = await manager.find(parsed_args.service)
            changed = await manager.update(str(known["id"]), changes)
            return await self.settle(manager, clock, changed, parsed_args)

        return _shown(self.app.bridge(parsed_args).run(work))


class Delete(_Waiting, Command):
    """Delete network services."""

    def get_parser(self, prog_name: str) -> Any:
        """Which ones."""
        parser = super().get_parser(prog_name)
        parser.add_argument("service", metavar="NAME_OR_ID", nargs="+")
        _add_wait(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the manager, for all of them first; then wait."""

        async def work(manager: Manager, clock: Any) -> list[str]:
            ids = [str((await manager.find(name))["id"]) for name in parsed_args.service]
            for identity in ids:
                await manager.delete(identity)
            problems = []
            end = clock.seconds() + parsed_args.timeout
            for identity in ids if parsed_args.wait else ():
                try:
                    left = await until_settled(manager, clock, identity, end - clock.seconds(), self.progress)
                except NotSettled as error:
                    problems.append(str(error))
                else:
                    if left is not None:
                        problems.append(f"network service {identity} is {describe(left)}")
            return problems

        problems = self.app.bridge(parsed_args).run(work)
        if problems:
            raise CommandFailed("\n".join(problems))
