"""The whole deployment is killed, started, stopped and started again on one state directory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nfp.embedded import topology
from nfp.embedded.broker import listens
from nfp.manager.store.tables import NetworkService, NetworkServiceDevice
from tests.fault.prober import steady_traffic
from tests.functional.chain import Chain
from tests.functional.embedded_stack import Stack, until


class RestartTests(SynchronousTestCase):
    timeout = 300
    maxDiff = None

    def setUp(self) -> None:
        self.stack = Stack()
        self.addCleanup(self.stack.close)
        self.addCleanup(topology.take_down, self.stack.state)
        self.chains: list[Chain] = []
        self.addCleanup(lambda: [chain.detach() for chain in self.chains])

    def test_one_life_of_a_state_directory(self) -> None:
        self.stack.start()
        empty = self.stack.inventory()
        first, second = self.create(80), self.create(443)
        with steady_traffic(first.namespace("client"), 80, lambda lost: self.assertEqual(lost, [])):
            third = self.begun(22)
            self.stack.kill()
            self.assertEqual(len(self.stack.device_namespaces()), 3)
            self.stack.start()
            self.all_are_active(first, second, third)
        self.nobody_complained()
        self.stop()
        self.nothing_is_left()

        self.stack.start()
        for chain in self.chains:
            chain.detach()
            chain.attach(self.stack.state)
        self.all_are_active(first, second, third)
        self.nobody_complained()

        self.the_supervisor_dies_alone()
        self.stack.start()
        self.all_are_active(first, second, third)
        for chain in self.chains:
            chain.detach()
            self.stack.node_driver.call("delete_network_service", network_service_id=chain.id)
        for chain in self.chains:
            self.stack.gone(chain.id)
        self.assertEqual(self.stack.settled_inventory(empty), empty)
        self.stop()
        self.nothing_is_left()

    def chain(self) -> Chain:
        chain = Chain()
        self.chains.append(chain)
        chain.attach(self.stack.state)
        return chain

    def create(self, port: int) -> Chain:
        """A chain that lets one port through, ACTIVE."""
        chain = self.chain()
        self.stack.node_driver.cast("create_network_service", network_service=chain.request(port))
        self.stack.settle(chain.id, "ACTIVE")
        self.assertEqual(chain.open_ports(expected=(port,)), [port])
        return chain

    def begun(self, port: int) -> Chain:
        """A chain of which there is a namespace, and not much more."""
        chain, before = self.chain(), len(self.stack.device_namespaces())
        self.stack.node_driver.cast("create_network_service", network_service=chain.request(port))
        until(lambda: len(self.stack.device_namespaces()) > before, "its namespace")
        return chain

    def all_are_active(self, *chains: Chain) -> None:
        """Each service is ACTIVE, once, with its own rules."""
        for chain, port in zip(chains, (80, 443, 22), strict=True):
            self.stack.settle(chain.id, "ACTIVE")
            self.assertEqual(chain.open_ports(expected=(port,)), [port])
        self.assertEqual(len(self.stack.rows(NetworkService)), len(chains))
        self.assertEqual(
            sorted(row["backend_id"] for row in self.stack.rows(NetworkServiceDevice)),
            self.stack.device_namespaces(),
        )
        self.assertEqual(len(self.stack.device_namespaces()), len(chains))

    def the_supervisor_dies_alone(self) -> None:
        """Whom it kept dies with it, the broker and its port mapper too; the firewalls go on."""
        client = self.chains[0].namespace("client")
        with steady_traffic(client, 80, lambda lost: self.assertEqual(lost, [])):
            self.stack.kill_supervisor()
        self.assertEqual(self.stack.processes(), [])

    def stop(self) -> None:
        """Stop it as systemd would."""
        self.ports = self.stack.ports()
        self.assertTrue(all(listens(port) for port in self.ports))
        for chain in self.chains:
            chain.silence()
        self.assertEqual(self.stack.stop(), 0)

    def nothing_is_left(self) -> None:
        """No namespace, process, socket or port of it."""
        left = self.stack.remains()
        self.assertEqual(left, {name: [] for name in left})
        self.assertEqual([port for port in self.ports if listens(port)], [])

    def nobody_complained(self) -> None:
        expected = (r"the listener is gone; so is this worker",)
        self.assertEqual(self.stack.complaints(expected=expected), [])
        self.assertEqual(self.stack.spilt_secrets(), [])
