"""The order of effects on a device (invariant I5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nfp.model.errors import Invalid


class Order(NamedTuple):
    """``[fence, revision]`` of the device row when the effect was decided; compares as a pair."""

    fence: int
    revision: int

    @classmethod
    def of(cls, value: Sequence[int], field: str = "order") -> Order:
        """Read an order off the wire.

        :raises Invalid: *value* is not two integers.
        """
        match value:
            case [int(fence), int(revision)] if not isinstance(fence, bool) and not isinstance(
                revision, bool
            ):
                return cls(fence, revision)
        raise Invalid("expected [fence, revision], two integers", field=field)
