"""The manager's processes are killed in the middle of a create; the service ends ACTIVE, once."""

from __future__ import annotations

from nfp.manager.store.tables import NetworkServiceDevice
from nfp.process.pool import lane_of
from tests.fault.fault_story import MOMENTS, FaultStory
from tests.functional.embedded_stack import until

WORKERS = 2


class WorkerDiesTests(FaultStory):
    expected = (r"worker \d died: signal 9",)

    def test_at_each_moment_of_a_create(self) -> None:
        with self.nobody_notices():
            chains = []
            for moment in MOMENTS:
                until(lambda: all(self.stack.worker("manager", n) for n in range(WORKERS)), "all workers")
                chains.append(self.in_the_middle(moment, lambda moment=moment: self.busy_worker(moment)))
                self.stack.settle(chains[-1].id, "ACTIVE")
        self.ends_well(*chains)

    def busy_worker(self, moment: str) -> int | None:
        """The worker that does the next step: that of the device, once there is one."""
        known = self.stack.rows(NetworkServiceDevice)
        if moment == "create accepted" or len(known) < 2:
            return self.stack.worker("manager", 0)
        newest = max(known, key=lambda row: row["created_at"])
        return self.stack.worker("manager", lane_of(f"device:{newest['id']}", WORKERS))

    def test_both_at_once(self) -> None:
        with self.nobody_notices():
            other = self.stack.worker("manager", 1)
            chain = self.in_the_middle("Bind", lambda: self.stack.worker("manager", 0))
            self.stack.kill_process(other)
            self.stack.settle(chain.id, "ACTIVE")
        self.ends_well(chain)

    def test_in_the_middle_of_a_delete(self) -> None:
        chain = self.chain()
        self.create(chain, 443)
        with self.nobody_notices():
            mark = self.last_event()
            self.node_driver.cast("delete_network_service", network_service_id=chain.id)
            until(lambda: self.has_happened("Unbind", mark), "the delete is under way")
            for index in range(WORKERS):
                self.stack.kill_process(self.stack.worker("manager", index))
            self.stack.gone(chain.id)
            until(lambda: len(self.stack.device_namespaces()) == 1, "its device is gone")
        self.ends_well()


class ListenerDiesTests(FaultStory):
    expected = (r"the listener is gone; so is this worker",)

    def test_in_the_middle_of_a_create(self) -> None:
        with self.nobody_notices():
            pid = self.stack.pid("manager")
            chain = self.in_the_middle("Bind", lambda: self.stack.pid("manager"))
            self.back("manager", pid)
            self.stack.settle(chain.id, "ACTIVE")
        self.ends_well(chain)

    def test_casts_that_come_while_it_is_away_are_not_lost(self) -> None:
        chain = self.chain()
        chain.attach(self.stack.state)
        with self.nobody_notices():
            pid = self.stack.pid("manager")
            self.stack.kill_process(pid)
            self.node_driver.cast("create_network_service", network_service=chain.request(443))
            self.back("manager", pid)
            self.stack.settle(chain.id, "ACTIVE")
        self.ends_well(chain)
