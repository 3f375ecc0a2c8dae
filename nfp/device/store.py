"""What the runtime keeps on disk of each device, so that a restart serves all again."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from nfp.device.ruleset import GENERATIONS
from nfp.model.errors import Invalid
from nfp.model.order import Order

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_log = Logger()


def check_id(nsd_id: str) -> str:
    """Check a device's id: it becomes a file's name.

    :raises Invalid: it cannot.
    """
    if not _ID.fullmatch(nsd_id):
        raise Invalid("expected letters, digits, - and _, at most 64", field="nsd_id")
    return nsd_id


@dataclass
class ServiceState:
    """A service on a device.

    :ivar digest: of *tree*.
    :ivar listing: hash of the kernel's listing right after the tree was applied; ``None`` while
        that is not known to have happened.
    :ivar slot: the half of the conntrack mark that it uses.
    """

    kind: str
    tree: Mapping[str, Any]
    digest: str
    listing: str | None = None
    slot: int | None = None


@dataclass
class DeviceState:
    """A device: where it is served, and what it was told last.

    :ivar order: the highest seen (I5).
    :ivar generation: of the ruleset written last; begins anywhere, for flows may bear marks of a
        life that nobody remembers.
    :ivar tree: interfaces and routes, ``None`` before the first.
    :ivar applied: whether *tree* is known to have reached the kernel.
    """

    nsd_id: str
    namespace: str
    address: str
    port: int
    order: Order | None = None
    generation: int = field(default_factory=lambda: secrets.randbelow(GENERATIONS) + 1)
    tree: Mapping[str, Any] | None = None
    digest: str | None = None
    applied: bool = False
    services: dict[str, ServiceState] = field(default_factory=dict)


def encode(state: DeviceState) -> str:
    """Write a device's state as JSON."""
    return json.dumps(state, default=vars, sort_keys=True)


def decode(text: str) -> DeviceState:
    """Read what :func:`encode` wrote.

    :raises ValueError: it is something else.
    """
    try:
        value = json.loads(text)
        services = {name: ServiceState(**one) for name, one in value.pop("services").items()}
        order = value.pop("order")
        return DeviceState(**value, services=services, order=Order.of(order) if order else None)
    except (TypeError, KeyError, AttributeError, Invalid) as error:
        raise ValueError(f"not a device's state: {error}") from None


class Store:
    """A directory with one file per device, readable by its owner only.  Blocking.

    :param directory: made when it is not there.
    """

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, nsd_id: str) -> Path:
        return self._directory / f"{check_id(nsd_id)}.json"

    def load(self) -> list[DeviceState]:
        """All devices; a file that cannot be read is logged and left where it is."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                found.append(decode(path.read_text("utf-8")))
            except (OSError, ValueError) as error:
                _log.error("{path} is not used: {reason}", path=str(path), reason=str(error))
        return found

    def write(self, state: DeviceState, *, durable: bool = True) -> None:
        """Keep a device's state: all of it, or what was there before.

        :param durable: also when the power fails; without, only the death of this process is survived.
        """
        path = self._path(state.nsd_id)
        fresh = path.with_suffix(".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(file, "w", encoding="utf-8") as writing:
            writing.write(encode(state))
            writing.flush()
            if durable:
                os.fsync(file)
        fresh.replace(path)

    def remove(self, nsd_id: str) -> None:
        """Forget a device."""
        with suppress(FileNotFoundError):
            self._path(nsd_id).unlink()
