"""What the converge loop asks of a kind of object: services are one, devices another."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from nfp.manager.plan.decisions import Decision, Step
from nfp.manager.store.outcome import Intent, Recording

V = TypeVar("V")


class IKind(Protocol[V]):
    """A kind of converged object: services, devices."""

    prefix: str
    table: Any

    def read(self, connection: sa.Connection, object_id: str) -> V | None:
        """Read the object's snapshot and what its steps need."""
        ...

    def row(self, view: V) -> dict[str, Any]:
        """The object's row in a view."""
        ...

    def decide(self, view: V, now: float) -> Decision:
        """Ask the planner."""
        ...

    def reserve(self, connection: sa.Connection, object_id: str, step: object) -> None:
        """Lock what *step* will change before the object's own row: devices before services, always."""
        ...

    async def perform(self, step: Step, view: V, fence: int) -> Recording | Intent:
        """Do *step* in the world and give what is to be recorded, or say what is about to be done.

        :raises NfpError: ``Permanent`` ends it; all others are tried again with backoff.
        """
        ...

    def describe(self, row: dict[str, Any], decision: Decision) -> dict[str, Any]:
        """Columns to set when the decision's status is not the stored one; empty: no change."""
        ...

    def announce(self, connection: sa.Connection, row: dict[str, Any], changed: dict[str, Any]) -> list[str]:
        """Tell other objects, in the same transaction, that these columns changed; gives keys to wake."""
        ...
