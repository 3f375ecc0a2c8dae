"""What a tree of interfaces must be, and how it is compared with the kernel."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nfp.device.interfaces import check_tree, differences
from nfp.model.errors import Invalid
from nfp.netns.links import RouteSpec
from nfp.netns.messages import Link

MAC = "02:00:00:00:00:01"


def tree(*interfaces: dict[str, Any], routes: Any = ()) -> dict[str, Any]:
    return {"interfaces": list(interfaces), "routes": [{"destination": d, "nexthop": n} for d, n in routes]}


def nic(*addresses: str, mac: str = MAC) -> dict[str, Any]:
    return {"mac": mac, "addresses": list(addresses)}


def link(*addresses: str, name: str = "eth1", mac: str = MAC, up: bool = True) -> Link:
    return Link(2, name, mac, up, 0, addresses)


class TreeTests(SynchronousTestCase):
    def test_a_good_tree_passes_with_attributes_that_mean_nothing_here(self) -> None:
        check_tree(
            {
                **tree({**nic("10.0.0.1/24", "fd00::1/64"), "role": "x"}, routes=[("::/0", "fd00::2")]),
                "more": 1,
            }
        )

    def test_each_fault_names_its_field(self) -> None:
        for bad, field in (
            ([], "tree"),
            ({"interfaces": []}, "tree.routes"),
            (tree(nic(), nic(mac="02:00")), "tree.interfaces[1].mac"),
            (tree(nic(), nic(mac=MAC.upper())), "tree.interfaces[1].mac"),
            (tree(nic("10.0.0.1/24", "10.0.0.1/64")), "tree.interfaces[0].addresses[1]"),
            (tree(routes=[("10.0.0.0/8", "fd00::1")]), "tree.routes[0]"),
            (tree(routes=[("10.0.0.0/8", "10.0.0.1/24")]), "tree.routes[0]"),
            (tree(routes=[("anywhere", "10.0.0.1")]), "tree.routes[0]"),
        ):
            with self.assertRaises(Invalid) as caught:
                check_tree(bad)
            self.assertEqual(caught.exception.field, field)


class DifferenceTests(SynchronousTestCase):
    def test_equal_is_no_difference_however_it_is_written(self) -> None:
        wanted = tree(
            nic("10.0.0.1/24", "FD00:0::1/64", mac=MAC.upper()), routes=[("10.9.1.2/16", "10.0.0.2")]
        )
        there = [link("fd00::1/64", "10.0.0.1/24"), link("fe00::1/64", name="eth0", mac="02:00:00:00:00:02")]
        self.assertEqual(differences(wanted, there, [RouteSpec("10.9.0.0/16", "10.0.0.2", "eth1")]), [])

    def test_each_difference_is_said(self) -> None:
        wanted = tree(nic("10.0.0.1/24"), routes=[("10.9.0.0/16", "10.0.0.2")])
        self.assertEqual(
            differences(wanted, [link("10.0.0.9/24", up=False)], [RouteSpec("0.0.0.0/0", "10.0.0.3")]),
            [
                "eth1 is down",
                "eth1 lacks 10.0.0.1/24",
                "eth1 also has 10.0.0.9/24",
                "no route to 10.9.0.0/16 by 10.0.0.2",
                "also a route to 0.0.0.0/0 by 10.0.0.3",
            ],
        )

    def test_the_management_interface_is_never_the_one_meant(self) -> None:
        self.assertEqual(
            differences(tree(nic("10.0.0.1/24")), [link("10.0.0.1/24", name="eth0")], []),
            [f"no interface with MAC {MAC}"],
        )
