"""What the fault stories share: a firewall with traffic through it, another one in the making, a blow."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from nfp.manager.store.tables import History, NetworkService, NetworkServiceDevice, NetworkServiceInstance
from tests.fault.prober import steady_traffic
from tests.functional.chain import Chain
from tests.functional.embedded_stack import until
from tests.functional.story import Story

TRIES = 5
MOMENT_SECONDS = 20.0

MOMENTS = ("create accepted", "Bind", "CreateNsd", "TellMonitor", "TellConfig", "TellService")
"""What the store says has happened last, of a create that goes on."""


class FaultStory(Story):
    """A test with a firewall that is in use meanwhile."""

    def setUp(self) -> None:
        super().setUp()
        self.before = self.stack.inventory()
        self.addCleanup(self.nothing_is_left)
        self.standing = self.chain()
        self.standing.attach(self.stack.state)
        self.create(self.standing, 80)

    def nothing_is_left(self) -> None:
        """All is as it was before the first service."""
        self.assertEqual(self.stack.settled_inventory(self.before), self.before)

    @contextmanager
    def nobody_notices(self) -> Iterator[None]:
        """Traffic through the standing firewall, which never fails."""
        with steady_traffic(
            self.standing.namespace("client"), 80, lambda failures: self.assertEqual(failures, [])
        ):
            yield

    def in_the_middle(self, moment: str, victim: Callable[[], int | None]) -> Chain:
        """Kill a process when a create has come as far as *moment*, and no further than not ACTIVE.

        :param victim: gives the process; it is stopped first, so that what it does next it never does.
        :return: the chain whose create it was.
        """
        for _ in range(TRIES):
            chain = self.chain()
            chain.attach(self.stack.state)
            mark = self.last_event()
            self.node_driver.cast("create_network_service", network_service=chain.request(443))
            until(lambda mark=mark: self.has_happened(moment, mark), moment, MOMENT_SECONDS)
            pid = victim()
            assert pid is not None, "the victim does not run"
            os.kill(pid, signal.SIGSTOP)
            try:
                row = self.stack.row(NetworkService, chain.id)
                if row is not None and row["status"] != "ACTIVE":
                    os.kill(pid, signal.SIGKILL)
                    return chain
            finally:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        raise AssertionError(f"the create was always ACTIVE before it could be stopped at {moment}")

    def last_event(self) -> int:
        """Number of the last thing that happened."""
        return max((row["id"] for row in self.stack.rows(History)), default=0)

    def has_happened(self, event: str, since: int) -> bool:
        """Whether a thing of that name has happened since."""
        table = History.__table__
        return bool(self.stack.rows(History, table.c.id > since, table.c.event.startswith(event)))

    def ends_well(self, *chains: Chain, seconds: float = 60.0) -> None:
        """Each chain's service is ACTIVE, once, with the rules asked for; so is the standing one."""
        for chain in chains:
            self.stack.settle(chain.id, "ACTIVE", seconds)
        everyone = (self.standing, *chains)
        self.assertEqual(
            sorted(row["id"] for row in self.stack.rows(NetworkService)), sorted(one.id for one in everyone)
        )
        instances = self.stack.rows(NetworkServiceInstance)
        self.assertEqual(len(instances), len(everyone))
        self.assertEqual(
            sorted(row["backend_id"] for row in self.stack.rows(NetworkServiceDevice)),
            self.stack.device_namespaces(),
        )
        self.assertEqual(len(self.stack.device_namespaces()), len(everyone))
        self.assertEqual(self.standing.open_ports(expected=(80,)), [80])
        for chain in chains:
            self.assertEqual(chain.open_ports(expected=(443,)), [443])

    def back(self, component: str, before: int | None) -> None:
        """Wait until a component runs again and the supervisor has seen it ready."""
        until(
            lambda: self.stack.pid(component) not in (None, before) and self.said_back(component),
            f"{component} is back",
        )

    def said_back(self, component: str) -> bool:
        """Whether the supervisor has said that the component's present process is ready."""
        return f"{component} is back (process {self.stack.pid(component)})" in self.stack.said.read_text()
