"""What the listener remembers of each device: all the state that the configurator has.

Nothing of it is on disk.  A worker's replacement is handed the monitors from here; after a
restart of the whole configurator the manager tells them again, for it sees a new boot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from nfp.model.errors import Stale
from nfp.model.order import Order

Request = Mapping[str, object]

MOST_DEVICES = 100_000


class Memory:
    """Highest order and last monitor request, by device.

    :param limit: how many devices' orders are kept; those that were not heard of for longest go
        first.  The device's own memory then still guards it.
    """

    def __init__(self, limit: int = MOST_DEVICES) -> None:
        self._limit = limit
        self._orders: OrderedDict[str, Order] = OrderedDict()
        self._monitors: dict[str, Request] = {}

    def __len__(self) -> int:
        return len(self._orders)

    @property
    def monitored(self) -> int:
        """How many devices are being watched."""
        return len(self._monitors)

    def check(self, nsd_id: str, order: Order) -> None:
        """Refuse an effect that was decided before another one that is known (I5).

        :raises Stale: *order* is below the highest seen for that device.
        """
        highest = self._orders.get(nsd_id)
        if highest is not None and order < highest:
            raise Stale(
                f"order {list(order)} is below {list(highest)}, the highest seen for device {nsd_id}",
                field="info.context.order",
            )

    def saw(self, nsd_id: str, order: Order) -> None:
        """Remember the order of a request that was taken."""
        self._orders[nsd_id] = max(order, self._orders.get(nsd_id, order))
        self._orders.move_to_end(nsd_id)
        while len(self._orders) > self._limit:
            self._orders.popitem(last=False)

    def watch(self, nsd_id: str, request: Request) -> None:
        """Remember the monitor that a device is to have."""
        self._monitors[nsd_id] = request

    def unwatch(self, nsd_id: str, request: Request | None = None) -> None:
        """Forget it; none there is success.

        :param request: forget only this one, not one that came after it.
        """
        if request is None or self._monitors.get(nsd_id) is request:
            self._monitors.pop(nsd_id, None)

    def monitors(self, mine: Callable[[str], bool]) -> list[Request]:
        """The monitor requests of those devices whose id *mine* says yes to."""
        return [request for nsd_id, request in self._monitors.items() if mine(nsd_id)]
