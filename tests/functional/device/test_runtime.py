"""The runtime with real namespaces, nftables and packets."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.internet import reactor  # noqa: TID251  # the real one, as in tap
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from nfp.device.config import read
from nfp.device.ruleset import GATE, table_name
from nfp.device.tap import wire
from nfp.model.digest import digest
from nfp.model.errors import Invalid, NfpError, NotFound, Stale, Transient
from nfp.netns import links, namespaces
from nfp.netns.links import RouteSpec
from tests.functional.device.lab import (
    CONSUMER,
    PROVIDER,
    PROVIDER6,
    TREE,
    Busy,
    Lab,
    allow,
    firewall,
    rules,
    talks,
)


class RuntimeCase(TestCase):
    timeout = 60
    lab: Lab
    data = True

    def setUp(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.start())

    async def start(self) -> None:
        self.lab = Lab()
        self.addCleanup(self.lab.remove)
        if self.data:
            self.lab.build_chain()
        else:
            self.lab.build_management()
        self.top: Any = None
        await self.up()
        self.addCleanup(self.down)
        self.control = self.lab.control(reactor)
        self.addCleanup(self.closed, self.control)
        if self.data:
            await self.serve()
            self.device = self.lab.client(reactor)
            self.addCleanup(self.closed, self.device)
        self.service = str(uuid4())

    def closed(self, client: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(client.close())

    async def up(self) -> None:
        self.top = wire(reactor, read([self.lab.settings()]))
        self.top.privilegedStartService()
        self.top.startService()
        await self.top.getServiceNamed("runtime").started

    def down(self) -> Any:
        top, self.top = self.top, None
        return top.stopService() if top is not None else None

    async def serve(self, number: int = 1) -> None:
        _, answer = await self.control.request(
            "PUT",
            f"/v1/namespaces/dev-{number}",
            {"namespace": self.lab.device(number), "address": self.lab.address(number), "port": 9444},
        )
        self.assertEqual(answer, {"listening": True})

    async def configure(self, tree: Any = TREE, order: tuple[int, int] = (1, 1)) -> Any:
        return (await self.device.request("PUT", "/v1/device", {"order": order, "tree": tree}))[1]

    async def apply(self, tree: Any, order: tuple[int, int] = (1, 1), service: str | None = None) -> Any:
        body = {"order": order, "kind": "firewall", "tree": tree}
        answer = await self.device.request("PUT", f"/v1/services/{service or self.service}", body)
        self.assertEqual(answer, (200, {"digest": digest(tree)}))
        return answer

    async def get(self, path: str, **more: Any) -> Any:
        return (await self.device.request("GET", path, **more))[1]

    async def state(self) -> Any:
        found = await self.get(f"/v1/services/{self.service}")
        return found["digest"], found["state"]


class FirewallTests(RuntimeCase):
    async def test_rules_decide_which_new_flows_pass(self) -> None:
        for port in (80, 81, 82):
            self.lab.echo(port)
        self.assertEqual(await self.configure(), {"digest": digest(TREE)})
        tree = firewall(
            allow(80),
            {"protocol": "tcp", "destination_port": "81", "action": "reject"},
            {"protocol": "tcp", "destination_port": 82, "action": "allow", "enabled": False},
            {"protocol": "icmp", "action": "allow"},
        )
        await self.apply(tree)
        self.assertTrue(self.lab.passes(80))
        with self.assertRaises(ConnectionRefusedError):
            self.lab.connect(81)
        self.assertFalse(self.lab.passes(82))
        self.assertTrue(self.lab.ping())
        await self.apply(firewall(allow(82, source_ip_address="10.1.0.0/24")))
        self.assertEqual([self.lab.passes(port) for port in (80, 81, 82)], [False, False, True])
        self.assertFalse(self.lab.ping())

    async def test_nothing_is_forwarded_that_nobody_judges(self) -> None:
        for host in (PROVIDER, PROVIDER6):
            self.lab.echo(80, host)

        def passing() -> list[bool]:
            return [self.lab.passes(80, host) for host in (PROVIDER, PROVIDER6)]

        await self.configure()
        self.assertEqual(passing(), [False, False])
        await self.apply(firewall(allow(80)))
        self.assertEqual(passing(), [True, True])
        await self.configure()
        self.assertEqual(passing(), [True, True])
        self.lab.nft("delete", "table", "inet", table_name(self.service))
        await self.configure()
        self.assertEqual(passing(), [False, False])
        await self.apply(firewall(allow(80)))
        self.assertEqual(passing(), [True, True])
        await self.device.request("DELETE", f"/v1/services/{self.service}", {"order": [1, 1]})
        self.assertEqual(passing(), [False, False])

    async def test_rules_apply_to_ipv6(self) -> None:
        for port in (80, 81):
            self.lab.echo(port, PROVIDER6)
        await self.configure()
        await self.apply(firewall(allow(80, destination_ip_address="fd02::/64"), allow(81, ip_version=4)))
        self.assertTrue(self.lab.passes(80, PROVIDER6))
        self.assertFalse(self.lab.passes(81, PROVIDER6))

    async def test_rules_apply_in_both_directions(self) -> None:
        self.lab.echo(80, CONSUMER, self.lab.consumer)
        await self.configure()
        self.lab.consumer, self.lab.provider = self.lab.provider, self.lab.consumer
        await self.apply(firewall(allow(80)))
        self.assertTrue(self.lab.passes(80, CONSUMER))
        await self.apply(firewall(allow(80, destination_ip_address="10.2.0.0/24")))
        self.assertFalse(self.lab.passes(80, CONSUMER))

    async def test_default_action_and_admin_state(self) -> None:
        self.lab.echo(80)
        await self.configure()
        await self.apply(firewall(default_action="allow"))
        self.assertTrue(self.lab.passes(80))
        await self.apply(firewall(default_action="allow", admin_state_up=False))
        self.assertFalse(self.lab.passes(80))

    async def test_a_revoked_flow_ends_at_once_and_others_do_not_notice(self) -> None:
        for port in (80, 81):
            self.lab.echo(port)
        await self.configure()
        await self.apply(firewall(allow(80), allow(81)))
        with self.lab.connect(80) as revoked, self.lab.connect(81) as kept:
            self.assertTrue(talks(revoked) and talks(kept))
            before = self.lab.retransmits()
            await self.apply(firewall(allow(81)))
            self.assertTrue(talks(kept))
            self.assertEqual(self.lab.retransmits(), before)
            self.assertFalse(talks(revoked))
            await self.apply(firewall(allow(81), allow(80)))
            self.assertTrue(talks(revoked, 5.0))

    async def test_no_packet_is_lost_in_updates(self) -> None:
        self.lab.echo(80)
        await self.configure()
        await self.apply(firewall(allow(80)))
        before = self.lab.retransmits()
        with Busy([self.lab.connect(80) for _ in range(4)]) as busy:
            for number in range(40):
                await self.apply(firewall(*rules(number % 7), allow(80)))
        self.assertEqual(self.lab.retransmits(), before)
        self.assertGreater(busy.rounds, 100)

    async def test_counters_survive_updates(self) -> None:
        self.lab.echo(80)
        await self.configure()
        web = allow(80, name="web")
        await self.apply(firewall(web))
        with self.lab.connect(80) as flow:
            self.assertTrue(talks(flow))
        first = (await self.get(f"/v1/services/{self.service}"))["counters"]
        self.assertGreater(first["web"]["packets"], 0)
        self.assertGreater(first["established"]["packets"], 1)
        await self.apply(firewall(allow(443, name="other"), web))
        second = (await self.get(f"/v1/services/{self.service}"))["counters"]
        self.assertGreaterEqual(second["web"]["packets"], first["web"]["packets"])
        self.assertEqual(second["other"], {"packets": 0, "bytes": 0})
        await self.apply(firewall(allow(443, name="other")))
        third = (await self.get(f"/v1/services/{self.service}"))["counters"]
        self.assertEqual(set(third), {"other", "established", "default"})

    async def test_2000_rules_go_in_at_once(self) -> None:
        self.lab.echo(2000)
        await self.configure()
        tree = firewall(*rules(2000))
        await self.apply(tree)
        self.assertTrue(self.lab.passes(2000))
        self.assertFalse(self.lab.passes(2001))
        self.assertEqual(await self.state(), (digest(tree), "active"))

    async def test_two_services_must_both_accept(self) -> None:
        for port in (80, 81):
            self.lab.echo(port)
        await self.configure()
        others = [str(uuid4()) for _ in range(2)]
        await self.apply(firewall(allow(80), allow(81)))
        for other in others:
            await self.apply(firewall(allow(80)), service=other)
        with self.lab.connect(80) as flow:
            self.assertTrue(talks(flow))
            self.assertFalse(self.lab.passes(81))
            await self.apply(firewall(), service=others[1])
            self.assertFalse(talks(flow))
        for other in others:
            await self.device.request("DELETE", f"/v1/services/{other}", {"order": [1, 1]})
        self.assertTrue(self.lab.passes(81))

    async def test_the_data_plane_does_not_reach_management(self) -> None:
        await self.configure()
        there = f"{self.lab.prefix}2"
        self.lab.echo(70, there, self.lab.management)
        links.ensure_routes(self.lab.consumer, [RouteSpec(f"{self.lab.prefix}/64", "fd01::1")], 4)
        links.ensure_routes(self.lab.management, [RouteSpec("fd01::/64", self.lab.address())], 4)
        self.lab.nft("delete", "table", *GATE.split())  # it alone would keep all out
        targets = [(9444, self.lab.address()), (70, there)]
        self.assertEqual([self.lab.opens(*target) for target in targets], [True, True])
        await self.apply(firewall(default_action="allow"))
        self.assertEqual([self.lab.opens(*target) for target in targets], [False, False])


class ReadBackTests(RuntimeCase):
    async def test_I8_tampering_with_the_ruleset_is_drift_until_it_is_applied_again(self) -> None:
        self.lab.echo(80)
        await self.configure()
        tree = firewall(allow(81))
        table = table_name(self.service)
        await self.apply(tree)
        self.assertEqual(await self.state(), (digest(tree), "active"))
        for tampering in (
            f"insert rule inet {table} forward accept",
            f"flush chain inet {table} judge",
            f"add chain inet {table} mine {{ type filter hook forward priority -5; }}",
        ):
            self.lab.nft(*tampering.split())
            self.assertEqual(await self.state(), (None, "drifted"), tampering)
            self.assertEqual((await self.get("/v1/health?level=service", accept=(503,)))["status"], "DOWN")
            await self.apply(tree)
            self.assertEqual(await self.state(), (digest(tree), "active"), tampering)
            self.assertFalse(self.lab.passes(80))
        self.lab.nft("delete", "table", "inet", table)
        self.assertEqual(await self.state(), (None, "missing"))
        await self.apply(tree)
        self.assertEqual(await self.get("/v1/health?level=service"), {"status": "UP"})

    async def test_I8_a_changed_address_is_drift(self) -> None:
        await self.configure()
        found = await self.get("/v1/device")
        self.assertEqual((found["digest"], found["tree"]), (digest(TREE), TREE))
        links.ensure_addresses(self.lab.device(), {"eth1": ["10.1.0.1/24"]})
        found = await self.get("/v1/device")
        self.assertEqual((found["digest"], found["state"]), (None, "drifted"))
        self.assertIn("eth1 lacks fd01::1/64", found["reason"])
        self.assertEqual((await self.get("/v1/health?level=config", accept=(503,)))["status"], "DOWN")
        self.assertEqual(await self.configure(), {"digest": digest(TREE)})
        self.assertEqual(await self.get("/v1/health?level=config"), {"status": "UP"})

    async def test_interfaces_no_longer_wanted_lose_their_addresses(self) -> None:
        await self.configure()
        less = {"interfaces": TREE["interfaces"][:1], "routes": []}
        self.assertEqual(await self.configure(less), {"digest": digest(less)})
        found = {link.name: link.addresses for link in links.list_links(self.lab.device())}
        self.assertEqual(found["eth2"], ())
        self.assertEqual(found["eth1"], ("10.1.0.1/24", "fd01::1/64"))
        self.assertEqual(found["eth0"], (f"{self.lab.address()}/64",))
        await self.device.request("DELETE", "/v1/device", {"order": [1, 2]})
        found = {link.name: link.addresses for link in links.list_links(self.lab.device())}
        self.assertEqual((found["eth1"], found["eth0"]), ((), (f"{self.lab.address()}/64",)))
        self.assertEqual((await self.get("/v1/device"))["tree"], None)

    async def test_a_missing_interface_is_worth_another_try(self) -> None:
        tree = {"interfaces": [{**TREE["interfaces"][0], "mac": "02:00:00:00:00:99"}], "routes": []}
        for _ in range(2):
            await self.assertFailure(Deferred.fromCoroutine(self.configure(tree)), Transient)
        self.assertEqual((await self.get("/v1/device"))["digest"], None)
        self.assertEqual(await self.configure(), {"digest": digest(TREE)})


class GuardTests(RuntimeCase):
    async def refused(self, kind: type[NfpError], *request: Any) -> str:
        error = await self.assertFailure(Deferred.fromCoroutine(self.device.request(*request)), kind)
        return str(error)

    async def test_I5_a_lower_order_is_refused_for_device_and_services(self) -> None:
        await self.configure(order=(2, 5))
        tree = firewall(allow(80))
        await self.apply(tree, (2, 6))
        path = f"/v1/services/{self.service}"
        body = {"order": [2, 5], "kind": "firewall", "tree": firewall()}
        for request in (
            ("PUT", "/v1/device", {"order": [1, 9], "tree": TREE}),
            ("DELETE", "/v1/device", {"order": [2, 5]}),
            ("PUT", path, body),
            ("DELETE", path, {"order": [2, 5]}),
        ):
            await self.refused(Stale, *request)
        found = await self.get("/v1/device")
        self.assertEqual(found["order"], [2, 6])
        self.assertEqual(found["services"][self.service]["digest"], digest(tree))

    async def test_bad_input_names_the_field_and_changes_nothing(self) -> None:
        path = f"/v1/services/{self.service}"
        bad = firewall({"protocol": "tcp", "destination_port": "80; drop", "action": "allow"})
        text = await self.refused(Invalid, "PUT", path, {"order": [9, 9], "kind": "firewall", "tree": bad})
        self.assertIn("rules[0].destination_port", text)
        text = await self.refused(
            Invalid,
            "PUT",
            "/v1/device",
            {"order": [9, 9], "tree": {"interfaces": [{"mac": "x", "addresses": []}], "routes": []}},
        )
        self.assertIn("tree.interfaces[0].mac", text)
        await self.refused(NotFound, "GET", path)
        self.assertEqual((await self.get("/v1/device"))["order"], None)

    async def test_a_stranger_with_a_certificate_of_our_ca_is_refused(self) -> None:
        stranger = self.lab.client(reactor, name="stranger.test")
        error = await self.assertFailure(
            Deferred.fromCoroutine(stranger.request("GET", "/v1/device")), NfpError
        )
        self.assertEqual(error.code, "Forbidden")
        await stranger.close()


class ServingTests(RuntimeCase):
    data = False

    async def test_one_process_serves_many_namespaces(self) -> None:
        for number in range(1, 21):
            self.lab.build_device(number)
            await self.serve(number)
        for number in range(1, 21):
            client = self.lab.client(reactor, number)
            self.assertEqual(await client.request("GET", "/v1/health"), (200, {"status": "UP"}))
            await client.close()
        _, listing = await self.control.request("GET", "/v1/namespaces")
        self.assertTrue(all(one["listening"] for one in listing["namespaces"].values()))
        self.assertEqual(len(listing["namespaces"]), 20)

    async def test_a_forgotten_namespace_can_vanish_though_a_client_was_connected(self) -> None:
        self.lab.build_device()
        await self.serve()
        client = self.lab.client(reactor)
        await client.request("GET", "/v1/health")
        await self.control.request("DELETE", "/v1/namespaces/dev-1")
        namespaces.delete(self.lab.device())
        links.wait_gone(self.lab.fabric, ["d1.0"], 10.0)
        await client.close()

    async def test_a_namespace_made_again_under_its_name_is_served_again(self) -> None:
        self.lab.build_device()
        await self.serve()
        namespaces.delete(self.lab.device())
        links.remove_link(self.lab.fabric, "d1.0")
        self.lab.build_device()
        await self.serve()
        client = self.lab.client(reactor)
        self.assertEqual(await client.request("GET", "/v1/health"), (200, {"status": "UP"}))
        await client.close()

    async def test_a_namespace_that_is_not_there_is_worth_another_try(self) -> None:
        await self.assertFailure(Deferred.fromCoroutine(self.serve()), Transient)
        self.lab.build_device()
        await self.serve()
