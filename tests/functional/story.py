"""What every story on the running system has in common: it cleans up, and nobody complained meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.chain import Chain
from tests.functional.embedded_stack import Stack, stack


class Story(SynchronousTestCase):
    """A test on the deployment of this process.

    :cvar expected: regular expressions of the errors in the logs that belong to the story.
    """

    timeout = 240
    maxDiff = None
    expected: Sequence[str] = ()

    def setUp(self) -> None:
        self.stack: Stack = stack()
        self.node_driver = self.stack.node_driver
        self.addCleanup(self.nobody_complained, self.stack.log_mark())

    def nobody_complained(self, since: dict[str, int]) -> None:
        """The logs hold no error, no traceback and no secret."""
        self.assertEqual(self.stack.complaints(since=since, expected=self.expected), [])
        self.assertEqual(self.stack.spilt_secrets(), [])

    def chain(self) -> Chain:
        """A chain that is deleted, with its hosts, however the test ends."""
        chain = Chain()
        self.addCleanup(self.remove, chain)
        return chain

    def remove(self, chain: Chain) -> None:
        """Delete it and wait for the end."""
        chain.detach()
        self.node_driver.call("delete_network_service", network_service_id=chain.id)
        self.stack.gone(chain.id)

    def create(self, chain: Chain, *ports: int) -> dict[str, Any]:
        """Have the chain's firewall made; gives the service when it is ACTIVE."""
        self.node_driver.cast("create_network_service", network_service=chain.request(*ports))
        return self.stack.settle(chain.id, "ACTIVE")
