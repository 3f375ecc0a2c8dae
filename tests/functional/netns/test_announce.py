"""Neighbours are told where an address is."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from nfp.netns import links, namespaces
from nfp.netns.announce import announce
from nfp.netns.inside import inside
from nfp.netns.links import Nic

MAC = "fa:16:3e:00:00:21"


class AnnounceTests(SynchronousTestCase):
    """Two hosts on one bridge: one speaks, the other listens to frames."""

    def setUp(self) -> None:
        tag = f"nfpt-{os.urandom(3).hex()}"
        self.fabric, self.speaker, self.listener = (f"{tag}-{part}" for part in ("fab", "s", "l"))
        for name in (self.fabric, self.speaker, self.listener):
            self.addCleanup(namespaces.delete, name, force=True)
        namespaces.create(self.fabric)
        links.build(self.listener, self.fabric, [Nic("eth0", "b0", "p0")])
        links.build(self.speaker, self.fabric, [Nic("eth0", "b0", "p1", mac=MAC)])

    def listen(self, ethertype: int) -> socket.socket:
        def make() -> socket.socket:
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
            raw.bind(("eth0", ethertype))
            return raw

        raw = inside(self.listener, make)
        raw.settimeout(5)
        self.addCleanup(raw.close)
        return raw

    def frame_with(self, raw: socket.socket, needle: bytes) -> bytes:
        while needle not in (frame := raw.recv(2048)):
            pass
        return frame

    def test_an_ipv4_address_by_gratuitous_arp(self) -> None:
        raw = self.listen(0x0806)
        links.ensure_addresses(self.speaker, {"eth0": ["10.8.0.1/24"]})
        announce(self.speaker, {"eth0": ["10.8.0.1/24"]})
        address, mac = socket.inet_aton("10.8.0.1"), bytes.fromhex(MAC.replace(":", ""))
        frame = self.frame_with(raw, address)
        self.assertEqual(frame[:14], b"\xff" * 6 + mac + b"\x08\x06")
        self.assertEqual(frame[22:42], mac + address + bytes(6) + address)

    def test_an_ipv6_address_by_advertisement(self) -> None:
        raw = self.listen(0x86DD)
        links.ensure_addresses(self.speaker, {"eth0": ["fd00:8::1/64"]})
        announce(self.speaker, {"eth0": ["fd00:8::1/64"]})
        address, mac = socket.inet_pton(socket.AF_INET6, "fd00:8::1"), bytes.fromhex(MAC.replace(":", ""))
        frame = self.frame_with(raw, b"\x88\x00")
        self.assertEqual(frame[54], 136)
        self.assertEqual(frame[21], 255, "the hop limit, without which nobody believes it")
        self.assertEqual(frame[62:86], address + b"\x02\x01" + mac)

    def test_nothing_to_say_is_fine_and_an_absent_interface_is_not(self) -> None:
        announce(self.speaker, {"eth0": []})
        self.assertRaises(OSError, announce, self.speaker, {"eth9": ["10.8.0.1/24"]})
