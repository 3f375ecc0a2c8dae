"""The first chain: GBP's RPC in, a real firewall, real packets, nothing left."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from nfp.manager.store.tables import NetworkServiceDevice
from nfp.netns.inside import connect_inside, listen_inside
from tests.functional.chain import CLIENT, WEB, Chain, rules
from tests.functional.embedded_stack import NFP, until
from tests.functional.node_driver import Refused
from tests.functional.story import Story

FETCH = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])) as connection:
    connection.sendall(b"hello")
    print(connection.recv(5).decode(), connection.getpeername()[0])
"""


class FirstChainTests(Story):
    def test_one_chain_from_rpc_to_packets_and_back_to_nothing(self) -> None:
        before = self.stack.inventory()
        self.assertEqual(before["messages"], [])
        chain = self.chain()
        chain.attach(self.stack.state)
        self.assertEqual(chain.open_ports(expected=()), [])

        answered = self.node_driver.call("create_network_service", network_service=chain.request(80))
        self.assertEqual(answered["id"], chain.id)
        shown = self.stack.settle(chain.id, "ACTIVE")
        self.assertEqual(shown["service_type"], "FIREWALL")
        self.assertEqual(len(shown["network_service_instances"]), 1)
        self.assertEqual(len(self.stack.device_namespaces()), 1)
        self.assertEqual(chain.open_ports(expected=(80,)), [80])
        self.assertEqual(self.fetch(chain, 80), f"hello {WEB}")

        wanted = {"service_config": rules(22)}
        self.node_driver.call("update_network_service", network_service_id=chain.id, network_service=wanted)
        self.stack.settle(chain.id, "ACTIVE")
        self.assertEqual(chain.open_ports(expected=(22,)), [22])
        self.assertEqual(len(self.stack.device_namespaces()), 1)

        self.node_driver.call("delete_network_service", network_service_id=chain.id)
        self.stack.gone(chain.id)
        until(lambda: not self.stack.device_namespaces(), "its device is gone")
        self.assertEqual(chain.open_ports(expected=()), [])
        self.assertIsNone(self.stack.show(chain.id))
        chain.detach()
        self.assertEqual(self.stack.settled_inventory(before), before)

    def fetch(self, chain: Chain, port: int) -> str:
        """What the operator sees who sends a packet by ``nfp lab run``."""
        done = subprocess.run(
            [
                *(str(NFP), "lab", "run", "--state-dir", str(self.stack.state.root), chain.host("client")),
                *("--", sys.executable, "-c", FETCH, WEB, str(port), "3"),
            ],
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_the_server_sees_the_clients_own_address(self) -> None:
        chain = self.chain()
        chain.attach(self.stack.state)
        self.create(chain, 80)
        self.assertIn(CLIENT, self.peer_of_a_connection(chain))

    def peer_of_a_connection(self, chain: Chain) -> str:
        with listen_inside(chain.namespace("web"), WEB, 8080) as listening:
            listening.setblocking(True)
            wanted = {"service_config": rules(8080)}
            self.node_driver.call(
                "update_network_service", network_service_id=chain.id, network_service=wanted
            )
            self.stack.settle(chain.id, "ACTIVE")
            with connect_inside(chain.namespace("client"), WEB, 8080, 3.0):
                connection, peer = listening.accept()
                connection.close()
        return str(peer[0])

    def test_every_change_of_status_is_told_to_all_node_drivers_in_order(self) -> None:
        chain = self.chain()
        self.create(chain, 80)
        wanted = {"service_config": rules(443)}
        self.node_driver.cast("update_network_service", network_service_id=chain.id, network_service=wanted)
        until(lambda: self.statuses(chain).count("ACTIVE") == 2, "both ACTIVE are told")
        self.node_driver.cast("delete_network_service", network_service_id=chain.id)
        until(lambda: "DELETED" in self.statuses(chain), "the end is told")
        told = self.node_driver.told_of(chain.id)
        revisions = [one["status_revision"] for one in told]
        self.assertEqual(revisions, sorted(set(revisions)))
        self.assertEqual(self.statuses(chain), ["ACTIVE", "ACTIVE", "DELETED"])
        self.assertEqual({one["service_id"] for one in told}, {chain.service_id})
        self.assertEqual({one["service_chain_id"] for one in told}, {chain.service_chain_id})

    def statuses(self, chain: Chain) -> list[str]:
        return [one["status"] for one in self.node_driver.told_of(chain.id)]

    def test_a_request_can_be_followed_by_its_id_as_far_as_the_device(self) -> None:
        """The manager's record of it is the service's history; the agent only hands it on."""
        chain, request_id = self.chain(), f"req-{Chain().id}"
        self.node_driver.call(
            "create_network_service",
            options={"request_id": request_id},
            network_service=chain.request(80),
        )
        self.stack.settle(chain.id, "ACTIVE")
        self.assertEqual({row["request_id"] for row in self.stack.history_rows(chain.id)}, {request_id})
        for component in ("configurator", "device"):
            journal = (self.stack.state.log / f"{component}.log").read_text()
            self.assertIn(request_id, journal, component)

    def test_a_device_that_does_not_answer_shows_as_down_until_it_answers_again(self) -> None:
        chain = self.chain()
        self.create(chain, 80)
        self.stack.pull_the_cable(chain.id)
        down = self.stack.settle(chain.id, "DOWN")
        self.assertIn("device does not answer", down["status_description"])
        self.stack.put_the_cable_in(chain.id)
        up = self.stack.settle(chain.id, "ACTIVE")
        self.assertEqual(up["status_description"], "")
        until(lambda: self.statuses(chain) == ["ACTIVE", "DOWN", "ACTIVE"], "all three are told")
        self.assertEqual(len(self.stack.rows(NetworkServiceDevice)), 1)


class ListingTests(Story):
    """``get_network_services``."""

    def setUp(self) -> None:
        super().setUp()
        self.tenant = Chain().id
        self.chains = [self.chain() for _ in range(3)]
        for number, chain in enumerate(self.chains):
            request = chain.request(80, tenant_id=self.tenant, name=f"n{number}")
            self.node_driver.call("create_network_service", network_service=request)

    def listed(self, **args: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.node_driver.call("get_network_services", **args)
        return found

    def test_services_are_listed_by_filter_fields_order_and_page(self) -> None:
        mine = {"tenant_id": self.tenant}
        everything = self.listed(filters=mine)
        self.assertEqual([one["id"] for one in everything], sorted(chain.id for chain in self.chains))

        one = self.listed(filters={**mine, "name": "n1"})
        self.assertEqual([service["id"] for service in one], [self.chains[1].id])
        two = self.listed(filters={**mine, "name": ["n0", "n2"]}, sort=["-name"], fields=["name"])
        self.assertEqual(two, [{"name": "n2"}, {"name": "n0"}])

        pages, marker = [], None
        while page := self.listed(filters=mine, sort=["name"], limit=2, marker=marker):
            pages.append([service["name"] for service in page])
            marker = page[-1]["id"]
        self.assertEqual(pages, [["n0", "n1"], ["n2"]])
        self.assertEqual(self.listed(filters={"tenant_id": "nobody"}), [])

    def test_what_cannot_be_listed_is_refused_naming_it(self) -> None:
        for args, field in (
            ({"filters": {"colour": "red"}}, "filters"),
            ({"fields": ["colour"]}, "fields"),
            ({"sort": ["colour"]}, "sort"),
            ({"limit": 0}, "limit"),
            ({"marker": Chain().id}, "marker"),
        ):
            refusal = self.assertRaises(Refused, self.listed, **args)
            self.assertEqual(refusal.kind, "Invalid")
            self.assertIn(field, refusal.text)
