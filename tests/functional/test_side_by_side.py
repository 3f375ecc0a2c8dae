"""Two deployments on one machine with the same addresses and ids, the second one on PostgreSQL."""

from __future__ import annotations

from tests.functional.chain import Chain
from tests.functional.embedded_stack import Stack, until
from tests.functional.postgres import database
from tests.functional.story import Story


class SideBySideTests(Story):
    def setUp(self) -> None:
        super().setUp()
        self.other = Stack({"database": {"connection": database(self)}})
        self.addCleanup(self.other.close)
        self.other.start()

    def test_neither_knows_of_the_other(self) -> None:
        empty = self.other.inventory()
        chain, twin = self.chain(), Chain()
        vars(twin).update(vars(chain))
        self.addCleanup(twin.detach)
        for one, stack, port in ((chain, self.stack, 80), (twin, self.other, 443)):
            one.attach(stack.state)
            stack.node_driver.cast("create_network_service", network_service=one.request(port))
        self.stack.settle(chain.id, "ACTIVE")
        self.other.settle(twin.id, "ACTIVE")
        self.assertEqual(chain.open_ports(expected=(80,)), [80])
        self.assertEqual(twin.open_ports(expected=(443,)), [443])

        self.other.node_driver.call("delete_network_service", network_service_id=twin.id)
        self.other.gone(twin.id)
        until(lambda: len(self.other.node_driver.told_of(twin.id)) == 2, "ACTIVE and DELETED are told")
        twin.detach()
        self.assertEqual(self.other.settled_inventory(empty), empty)
        self.assertEqual(self.other.complaints(), [])
        self.assertEqual(self.other.spilt_secrets(), [])
        self.assertEqual(self.other.stop(), 0)
        left = self.other.remains()
        self.assertEqual(left, {name: [] for name in left})
        self.assertEqual(chain.open_ports(expected=(80,)), [80])
