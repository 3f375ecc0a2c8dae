"""rtnetlink messages as bytes."""

from __future__ import annotations

import errno
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.netns import messages
from nfp.netns.messages import HEADER, Message, Reply


def acknowledgement(code: int, flags: int, tail: bytes = b"") -> Reply:
    """What the kernel answers to a request whose header it repeats."""
    return Reply(
        messages.NLMSG_ERROR, flags, 1, struct.pack("=i", -code) + HEADER.pack(40, 16, 5, 1, 0) + tail
    )


class EncodingTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.integers(16, 90), st.binary(max_size=40)), max_size=8))
    def test_messages_of_one_datagram_come_apart_again(self, bodies: list[tuple[int, bytes]]) -> None:
        # The kernel aligns bodies; so do all builders.
        aligned = [(kind, body + b"\0" * (-len(body) % 4)) for kind, body in bodies]
        datagram = b"".join(
            messages.encode(Message(kind, messages.NLM_F_ACK, body, ""), number)
            for number, (kind, body) in enumerate(aligned)
        )
        found = list(messages.decode(datagram))
        self.assertEqual([(reply.kind, reply.body) for reply in found], aligned)
        self.assertEqual([reply.sequence for reply in found], list(range(len(aligned))))

    def test_a_broken_datagram_ends_quietly(self) -> None:
        self.assertEqual(list(messages.decode(b"\x04\0\0\0" + b"\0" * 12)), [])
        self.assertEqual(list(messages.decode(b"short")), [])

    @given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=30), max_size=8))
    def test_attributes_come_back(self, wanted: dict[int, bytes]) -> None:
        data = b"".join(messages.attribute(kind, value) for kind, value in wanted.items())
        self.assertEqual(messages.attributes(data), wanted)
        self.assertEqual(len(data) % 4, 0)

    def test_text_ends_with_nul_and_numbers_have_32_bits(self) -> None:
        found = messages.attributes(messages.attribute(3, "eth0") + messages.attribute(10, 7))
        self.assertEqual(found, {3: b"eth0\0", 10: struct.pack("=I", 7)})

    def test_every_builder_gives_whole_words(self) -> None:
        for message in (
            messages.make_bridge("b" + "0" * 12),
            messages.make_veth("n", 4, "eth0", 9, "02:00:00:00:00:01"),
            messages.set_up(2),
            messages.set_master(2, 3),
            messages.remove_link("abcde"),
            messages.get_link("abcde"),
            messages.add_address(2, "10.0.0.1/24"),
            messages.add_address(2, "fd00::1/64"),
            messages.add_route("0.0.0.0/0", "10.0.0.1"),
            messages.remove_route("fd00::/8", None, 3, 78),
        ):
            encoded = messages.encode(message, 1)
            self.assertEqual(len(encoded) % 4, 0, message.what)
            self.assertEqual(HEADER.unpack_from(encoded)[0], len(encoded), message.what)


class AcknowledgementTests(SynchronousTestCase):
    def test_success(self) -> None:
        self.assertEqual(messages.error_of(acknowledgement(0, messages.NLM_F_CAPPED)), (0, ""))

    def test_the_kernels_words_are_found(self) -> None:
        tail = messages.attribute(1, "Nexthop has invalid gateway")
        flags = messages.NLM_F_CAPPED | messages.NLM_F_ACK_TLVS
        found = messages.error_of(acknowledgement(errno.ENETUNREACH, flags, tail))
        self.assertEqual(found, (errno.ENETUNREACH, "Nexthop has invalid gateway"))

    def test_the_kernels_words_are_found_behind_a_repeated_request(self) -> None:
        tail = b"\0" * 24 + messages.attribute(1, "no")
        found = messages.error_of(acknowledgement(errno.EINVAL, messages.NLM_F_ACK_TLVS, tail))
        self.assertEqual(found, (errno.EINVAL, "no"))

    def test_an_error_without_words(self) -> None:
        found = messages.error_of(acknowledgement(errno.EEXIST, messages.NLM_F_CAPPED))
        self.assertEqual(found, (errno.EEXIST, ""))


class AddressTests(SynchronousTestCase):
    def test_ipv6_addresses_skip_duplicate_detection_and_ipv4_ones_have_no_flag(self) -> None:
        six = messages.add_address(3, "fd00::1/64").body
        self.assertEqual(struct.unpack_from("=BBBBI", six), (socket.AF_INET6, 64, messages.IFA_F_NODAD, 0, 3))
        four = messages.add_address(3, "10.0.0.1/24").body
        self.assertEqual(struct.unpack_from("=BBBBI", four), (socket.AF_INET, 24, 0, 0, 3))

    @given(st.ip_addresses().flatmap(lambda ip: st.integers(0, ip.max_prefixlen).map(lambda n: f"{ip}/{n}")))
    def test_an_address_reads_as_it_was_written(self, cidr: str) -> None:
        self.assertEqual(messages.read_address(messages.add_address(5, cidr).body), (5, cidr))

    def test_bad_addresses_are_refused(self) -> None:
        for bad in ("10.0.0.300/24", "10.0.0.1/33", "eth0", ""):
            with self.assertRaises(ValueError):
                messages.add_address(1, bad)


class RouteTests(SynchronousTestCase):
    def test_a_route_reads_as_it_was_written(self) -> None:
        for destination, nexthop, index in (
            ("0.0.0.0/0", "10.0.0.1", 0),
            ("10.1.0.0/16", None, 4),
            ("fd00:1::/32", "fd00::1", 2),
            ("::/0", "fd00::1", 0),
        ):
            body = messages.add_route(destination, nexthop, index, messages.RTPROT_NFP).body
            found = messages.read_route(body)
            self.assertEqual(
                found, messages.KernelRoute(destination, nexthop, index, messages.RTPROT_NFP), destination
            )

    def test_other_tables_and_kinds_are_left_out(self) -> None:
        body = bytearray(messages.add_route("10.0.0.0/8", "10.0.0.1").body)
        body[4] = 255  # the local table
        self.assertIsNone(messages.read_route(bytes(body)))
        body[4], body[7] = messages.RT_TABLE_MAIN, 6  # a blackhole
        self.assertIsNone(messages.read_route(bytes(body)))

    def test_families_are_not_mixed(self) -> None:
        with self.assertRaises(ValueError):
            messages.add_route("10.0.0.0/8", "fd00::1")


class LinkTests(SynchronousTestCase):
    def test_a_link_is_read(self) -> None:
        body = struct.pack("=BxHiII", 0, 1, 7, messages.IFF_UP, 0)
        body += messages.attribute(messages.IFLA_IFNAME, "eth1") + messages.attribute(
            messages.IFLA_ADDRESS, messages.mac_bytes("02:00:00:00:AA:01")
        )
        self.assertEqual(messages.read_link(body), messages.Link(7, "eth1", "02:00:00:00:aa:01", True, 0))
        body += messages.attribute(messages.IFLA_MASTER, 3)
        self.assertEqual(messages.read_link(body).master, 3)

    def test_names_that_the_kernel_would_refuse_are_refused(self) -> None:
        for bad in ("", "x" * 16, "a/b", "a b", ".", "..", "a:b", "a\n", "%d"):
            with self.assertRaises(ValueError, msg=repr(bad)):
                messages.make_bridge(bad)
        messages.make_bridge("x" * 15)

    def test_what_is_no_mac_is_refused(self) -> None:
        for bad in ("", "02:00:00:00:00", "02:00:00:00:00:0", "zz:00:00:00:00:00", "020000000000"):
            with self.assertRaises(ValueError, msg=repr(bad)):
                messages.mac_bytes(bad)
