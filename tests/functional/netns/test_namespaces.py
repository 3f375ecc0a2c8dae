"""Namespaces and links in the real kernel."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nfp.netns import inside, links, messages, namespaces
from nfp.netns.links import Nic, RouteSpec
from nfp.netns.messages import RTPROT_NFP, RTPROT_STATIC
from nfp.netns.rtnetlink import RtNetlink


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.tag = f"nfpt-{os.urandom(3).hex()}"
        self.addCleanup(self.remove)

    def remove(self) -> None:
        for name in namespaces.names(f"{self.tag}-"):
            namespaces.delete(name, force=True)

    def name(self, suffix: str) -> str:
        return f"{self.tag}-{suffix}"


class NamespaceTests(Case):
    def test_made_found_and_removed(self) -> None:
        name = self.name("a")
        self.assertFalse(namespaces.exists(name))
        namespaces.create(name)
        self.assertTrue(namespaces.exists(name))
        self.assertEqual(namespaces.names(f"{self.tag}-"), [name])
        (loopback,) = links.list_links(name)
        self.assertEqual((loopback.name, loopback.up), ("lo", True))
        self.assertTrue(namespaces.delete(name))
        self.assertFalse(namespaces.delete(name))
        self.assertEqual(namespaces.names(f"{self.tag}-"), [])

    def test_making_it_twice_keeps_the_first(self) -> None:
        name = self.name("a")
        self.assertTrue(namespaces.ensure(name))
        inode = namespaces.path_of(name).stat().st_ino
        self.assertFalse(namespaces.ensure(name))
        self.assertEqual(namespaces.path_of(name).stat().st_ino, inode)
        with self.assertRaises(FileExistsError):
            namespaces.create(name)

    def test_the_file_that_a_crash_left_is_no_namespace_and_becomes_one(self) -> None:
        name = self.name("a")
        namespaces.DIRECTORY.mkdir(exist_ok=True)
        namespaces.path_of(name).touch()
        self.assertFalse(namespaces.exists(name))
        with self.assertRaises(FileNotFoundError):
            inside.inside(name, os.getpid)
        self.assertTrue(namespaces.ensure(name))
        self.assertTrue(namespaces.exists(name))

    def test_many_threads_make_one(self) -> None:
        made: list[bool] = []
        threads = [
            threading.Thread(target=lambda: made.append(namespaces.ensure(self.name("a")))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(made), [False] * 7 + [True])

    def test_the_callers_thread_stays_where_it_is(self) -> None:
        namespaces.ensure(self.name("a"))
        own = Path("/proc/thread-self/ns/net").stat().st_ino
        there = inside.inside(self.name("a"), lambda: Path("/proc/thread-self/ns/net").stat().st_ino)
        self.assertEqual(there, namespaces.path_of(self.name("a")).stat().st_ino)
        self.assertNotEqual(own, there)
        self.assertEqual(Path("/proc/thread-self/ns/net").stat().st_ino, own)

    def test_one_with_a_process_inside_is_not_removed(self) -> None:
        name = self.name("a")
        namespaces.ensure(name)
        process = inside.popen_inside(name, ["sleep", "60"])
        try:
            self.assertEqual(namespaces.processes_inside(name), [process.pid])
            with self.assertRaises(OSError) as caught:
                namespaces.delete(name)
            self.assertEqual(caught.exception.errno, errno.EBUSY)
            self.assertIn(str(process.pid), str(caught.exception))
            self.assertTrue(namespaces.exists(name))
        finally:
            process.kill()
            process.wait()
        self.assertTrue(namespaces.delete(name))

    def test_sysctls_are_the_namespaces_own(self) -> None:
        name = self.name("a")
        namespaces.ensure(name)
        key = "net/ipv4/conf/all/arp_announce"
        before = inside.get_sysctl(None, key)
        inside.set_sysctls(name, {key: "2"})
        self.assertEqual(inside.get_sysctl(name, key), "2")
        self.assertEqual(inside.get_sysctl(None, key), before)


class LinkTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.fabric = self.name("fab")
        namespaces.ensure(self.fabric)

    def nic(self, number: int, end: int = 1, **more: str) -> Nic:
        addresses = (f"10.{number}.0.{end}/24", f"fd00:{number}::{end}/64")
        mac = f"02:00:00:00:{end:02x}:{number:02x}"
        return Nic(f"eth{number}", more.get("bridge", f"b{number}"), f"n{end}.{number}", mac, addresses)

    def near_end(self, name: str) -> messages.Link:
        with RtNetlink(self.fabric) as near:
            return near.find(name)[name]

    def test_two_namespaces_on_a_bridge_talk_at_once(self) -> None:
        for end in (1, 2):
            links.build(self.name(str(end)), self.fabric, [self.nic(0, end), self.nic(1, end)])
        for host in ("10.1.0.2", "fd00:1::2"):
            with inside.listen_inside(self.name("2"), host, 0) as listening:
                port = listening.getsockname()[1]
                with inside.connect_inside(self.name("1"), host, port, 5.0) as made:
                    self.assertEqual(made.getpeername()[:2], (host, port))

    def test_building_again_changes_nothing_and_adds_what_lacks(self) -> None:
        name = self.name("1")
        routes = [RouteSpec("0.0.0.0/0", "10.0.0.254"), RouteSpec("::/0", "fd00:0::254")]
        links.build(name, self.fabric, [self.nic(0)], routes)
        first = links.list_links(name)
        links.build(name, self.fabric, [self.nic(0)], routes)
        self.assertEqual(links.list_links(name), first)
        links.build(name, self.fabric, [self.nic(0), self.nic(1)], routes)
        found = links.list_links(name)
        self.assertEqual(found[: len(first)], first)
        self.assertEqual(found[-1].mac, self.nic(1).mac)
        self.assertEqual(set(found[-1].addresses), {"10.1.0.1/24", "fd00:1::1/64"})
        made = links.list_routes(name, RTPROT_STATIC)
        self.assertEqual({route.destination for route in made}, {"0.0.0.0/0", "::/0"})

    def test_what_half_a_try_left_does_not_stop_the_next(self) -> None:
        namespaces.ensure(self.name("1"))
        namespaces.ensure(self.name("other"))
        links.build(self.name("other"), self.fabric, [Nic("eth0", "b0", "n1.0")])
        links.build(self.name("1"), self.fabric, [self.nic(0)])
        self.assertEqual([link.name for link in links.list_links(self.name("1"))], ["lo", "eth0"])
        self.assertEqual([link.name for link in links.list_links(self.name("other"))], ["lo"])

    def test_an_interface_moves_to_another_bridge(self) -> None:
        name = self.name("1")
        links.build(name, self.fabric, [self.nic(0)])
        links.build(name, self.fabric, [self.nic(0, bridge="bx")])
        self.assertEqual(links.bridge_ports(self.fabric, "bx"), ["n1.0"])
        self.assertEqual(links.bridge_ports(self.fabric, "b0"), [])

    def test_a_bridge_goes_with_its_last_port(self) -> None:
        links.ensure_bridge(self.fabric, "b0")
        links.ensure_bridge(self.fabric, "b0")
        links.build(self.name("1"), self.fabric, [self.nic(0)])
        self.assertFalse(links.remove_bridge(self.fabric, "b0"))
        namespaces.delete(self.name("1"))
        links.wait_gone(self.fabric, ["n1.0", "never-there"], 10.0)
        self.assertTrue(links.remove_bridge(self.fabric, "b0"))
        self.assertTrue(links.remove_bridge(self.fabric, "b0"))
        self.assertEqual([link.name for link in links.list_links(self.fabric)], ["lo"])

    def test_waiting_for_what_stays_ends(self) -> None:
        links.ensure_bridge(self.fabric, "b0")
        with self.assertRaises(TimeoutError) as caught:
            links.wait_gone(self.fabric, ["b0"], 0.05)
        self.assertIn("b0", str(caught.exception))

    def test_an_interface_is_unplugged_with_its_far_end(self) -> None:
        links.build(self.name("1"), self.fabric, [self.nic(0), self.nic(1)])
        self.assertTrue(links.remove_link(self.fabric, "n1.1"))
        self.assertFalse(links.remove_link(self.fabric, "n1.1"))
        self.assertEqual([link.name for link in links.list_links(self.name("1"))], ["lo", "eth0"])

    def test_addresses_become_equal_to_those_wanted(self) -> None:
        name = self.name("1")
        links.build(name, self.fabric, [self.nic(0)])
        # The first is primary for the second: removing it must not take the other along.
        links.ensure_addresses(name, {"eth0": ["10.0.0.1/24", "10.0.0.2/24", "fd00::7/64"]})
        links.ensure_addresses(name, {"eth0": ["10.0.0.2/24", "fd00::9/64"]})
        self.assertEqual(set(links.list_links(name)[1].addresses), {"10.0.0.2/24", "fd00::9/64"})
        links.ensure_addresses(name, {"eth0": []})
        self.assertEqual(links.list_links(name)[1].addresses, ())
        with self.assertRaises(OSError) as caught:
            links.ensure_addresses(name, {"eth9": ["10.0.0.1/24"]})
        self.assertEqual(caught.exception.errno, errno.ENODEV)

    def test_routes_of_one_mark_become_equal_and_others_stay(self) -> None:
        name = self.name("1")
        links.build(name, self.fabric, [self.nic(0)], [RouteSpec("0.0.0.0/0", "10.0.0.254")])
        wanted = [RouteSpec("10.9.0.0/16", "10.0.0.7"), RouteSpec("fd09::/32", "fd00::7")]
        for routes in (wanted, wanted[1:], [RouteSpec("10.9.0.0/16", "10.0.0.8")], []):
            links.ensure_routes(name, routes, RTPROT_NFP)
            found = {(route.destination, route.nexthop) for route in links.list_routes(name, RTPROT_NFP)}
            self.assertEqual(found, {(route.destination, route.nexthop) for route in routes})
        (kept,) = links.list_routes(name, RTPROT_STATIC)
        self.assertEqual(kept.nexthop, "10.0.0.254")

    def test_an_error_says_what_where_and_why(self) -> None:
        with self.assertRaises(OSError) as caught:
            links.ensure_routes(self.fabric, [RouteSpec("10.9.0.0/16", "10.0.0.7")], RTPROT_NFP)
        text = str(caught.exception)
        for part in ("10.9.0.0/16", self.fabric, "Network is unreachable"):
            self.assertIn(part, text)

    def test_more_messages_than_one_datagram_holds(self) -> None:
        links.build(self.name("1"), self.fabric, [self.nic(0)])
        many = [f"10.7.{number // 250}.{number % 250 + 1}/32" for number in range(700)]
        links.ensure_addresses(self.name("1"), {"eth0": many})
        self.assertEqual(set(links.list_links(self.name("1"))[1].addresses), set(many))

    def test_a_socket_made_inside_is_of_the_inside(self) -> None:
        links.build(self.name("1"), self.fabric, [self.nic(0)])
        with inside.socket_inside(self.name("1")) as made:
            made.bind(("10.0.0.1", 0))
        with socket.socket() as ours, self.assertRaises(OSError):
            ours.bind(("10.0.0.1", 0))
        with self.assertRaises(OSError):
            inside.listen_inside(self.name("1"), "10.0.0.99", 80)
