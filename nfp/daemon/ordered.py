"""A MultiService that stops its children one after another."""

from __future__ import annotations

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger


class OrderedService(MultiService):
    """Starts its children first to last; stops them last to first, awaiting each.

    A child that fails to stop is logged and does not keep the others from it.
    """

    log = Logger()

    def stopService(self) -> Deferred[None]:
        """Stop every child; fires when the first one has stopped."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception:  # noqa: BLE001 -- whatever it was, the next one must be stopped too
                self.log.failure("{service} did not stop well", service=child.name or type(child).__name__)
