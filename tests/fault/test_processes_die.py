"""Everything but the manager is killed in the middle of a create; the service ends ACTIVE, once."""

from __future__ import annotations

from tests.fault.fault_story import FaultStory
from tests.functional.chain import Chain, rules
from tests.functional.embedded_stack import until


class ComponentDiesTests(FaultStory):
    expected = (r"the listener is gone; so is this worker", r"worker \d died: signal 9")

    def dies(self, component: str, moment: str) -> None:
        """Kill a component at that moment; the supervisor brings it back."""
        with self.nobody_notices():
            pid = self.stack.pid(component)
            chain = self.in_the_middle(moment, lambda: self.stack.pid(component))
            self.back(component, pid)
            self.stack.settle(chain.id, "ACTIVE")
        self.ends_well(chain)
        self.can_be_changed(chain)

    def can_be_changed(self, chain: Chain) -> None:
        """The new process serves old and new firewalls alike."""
        for one, port in ((chain, 22), (self.standing, 443)):
            wanted = {"service_config": rules(port)}
            self.node_driver.call("update_network_service", network_service_id=one.id, network_service=wanted)
            self.stack.settle(one.id, "ACTIVE")
            self.assertEqual(one.open_ports(expected=(port,)), [port])

    def test_the_agent(self) -> None:
        self.dies("agent", "TellMonitor")

    def test_the_proxy(self) -> None:
        self.dies("proxy", "TellMonitor")

    def test_the_configurator(self) -> None:
        self.dies("configurator", "TellConfig")

    def test_the_device_runtime_before_the_device_is_made(self) -> None:
        self.dies("device", "Bind")

    def test_the_device_runtime_before_the_device_is_configured(self) -> None:
        self.dies("device", "TellMonitor")

    def test_both_workers_of_the_configurator(self) -> None:
        with self.nobody_notices():
            other = self.stack.worker("configurator", 1)
            chain = self.in_the_middle("TellMonitor", lambda: self.stack.worker("configurator", 0))
            self.stack.kill_process(other)
            self.stack.settle(chain.id, "ACTIVE")
        self.ends_well(chain)
        self.can_be_changed(chain)

    def test_a_device_that_dies_later_is_still_seen_after_the_configurator_died(self) -> None:
        """Monitors are set up again in the new configurator."""
        pid = self.stack.pid("configurator")
        self.stack.kill_process(pid)
        self.back("configurator", pid)
        self.stack.pull_the_cable(self.standing.id)
        self.stack.settle(self.standing.id, "DOWN")
        self.stack.put_the_cable_in(self.standing.id)
        self.stack.settle(self.standing.id, "ACTIVE")


class BrokerDiesTests(FaultStory):
    def test_in_the_middle_of_a_create(self) -> None:
        with self.nobody_notices():
            pid = self.stack.pid("rabbitmq")
            chain = self.in_the_middle("Bind", lambda: self.stack.pid("rabbitmq"))
            self.back("rabbitmq", pid)
            self.stack.settle(chain.id, "ACTIVE")
        self.ends_well(chain)
        later = self.chain()
        later.attach(self.stack.state)
        self.node_driver.call("create_network_service", network_service=later.request(443))
        self.ends_well(chain, later)
        until(lambda: self.node_driver.told_of(later.id), "node drivers are told again")
