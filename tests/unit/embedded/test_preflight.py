"""What keeps nfp up from beginning, and what mends it."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nfp.embedded import preflight
from nfp.embedded.preflight import Facts, holder_of, problems
from nfp.embedded.state_dir import StateDir

STATE = StateDir(Path("/srv/nfp"))

GOOD = Facts(
    capabilities=frozenset({preflight.CAP_NET_ADMIN, preflight.CAP_SYS_ADMIN}),
    release=("debian", "12"),
    namespaces=None,
    nftables=None,
    ipv6=None,
    broker_program=True,
    broker=None,
    broker_error=None,
    loopback_error=None,
    megabytes=10_000,
    writable=True,
    holder=None,
    socket_path=40,
)


class ProblemsTests(SynchronousTestCase):
    """Facts in, problems with their remedies out."""

    def assert_one(self, facts: Facts, what: str, remedy: str) -> None:
        found = problems(facts, STATE)
        self.assertEqual(len(found), 1, found)
        self.assertIn(what, found[0].what)
        self.assertIn(remedy, found[0].remedy)

    def test_a_good_machine_has_none(self) -> None:
        self.assertEqual(problems(GOOD, STATE), [])

    def test_without_root_it_says_so_and_does_not_blame_the_kernel(self) -> None:
        facts = replace(GOOD, capabilities=frozenset(), namespaces="Operation not permitted")
        self.assert_one(facts, "no CAP_NET_ADMIN and no CAP_SYS_ADMIN", "sudo nfp up")

    def test_one_capability_alone_is_named(self) -> None:
        facts = replace(
            GOOD, capabilities=frozenset({preflight.CAP_SYS_ADMIN}), nftables="Operation not permitted"
        )
        self.assert_one(facts, "no CAP_NET_ADMIN:", "root")

    def test_another_system_or_an_older_release_is_refused(self) -> None:
        for release in (("ubuntu", "22.04"), ("debian", "11"), ("", "")):
            self.assert_one(replace(GOOD, release=release), "Debian 12", "Debian 12")
        self.assertEqual(problems(replace(GOOD, release=("debian", "13.1")), STATE), [])

    def test_namespaces_that_cannot_be_made(self) -> None:
        self.assert_one(replace(GOOD, namespaces="No space left on device"), "No space left", "sysctl")

    def test_missing_nftables(self) -> None:
        facts = replace(GOOD, nftables="libnftables.so.1 is not installed")
        self.assert_one(facts, "nftables cannot be used", "apt-get install nftables libnftables1")

    def test_a_kernel_without_ipv6(self) -> None:
        facts = replace(GOOD, ipv6="Address family not supported by protocol")
        self.assert_one(facts, "no IPv6", "ipv6.disable=1")

    def test_missing_broker_is_installed_with_its_daemon_masked(self) -> None:
        self.assert_one(replace(GOOD, broker_program=False), "RabbitMQ", "systemctl mask rabbitmq-server")

    def test_a_broker_of_ones_own_needs_no_rabbitmq_here(self) -> None:
        facts = replace(GOOD, broker_program=False, broker="mq.example:5672", loopback_error="none")
        self.assertEqual(problems(facts, STATE), [])

    def test_a_broker_that_does_not_answer(self) -> None:
        facts = replace(GOOD, broker="mq.example:5672", broker_error="Connection refused")
        self.assert_one(facts, "mq.example:5672 cannot be reached: Connection refused", "transport_url")

    def test_no_port_to_be_had(self) -> None:
        self.assert_one(replace(GOOD, loopback_error="Cannot assign"), "127.0.0.1", "ip link set lo up")

    def test_a_directory_that_cannot_be_written(self) -> None:
        self.assert_one(replace(GOOD, writable=False), "/srv/nfp cannot be written", "install -d -m 700")

    def test_a_directory_in_use_tells_by_whom(self) -> None:
        self.assert_one(replace(GOOD, holder=4711), "in use by process 4711", "kill 4711")

    def test_a_full_disk(self) -> None:
        self.assert_one(replace(GOOD, megabytes=199), "199 MB free", "free some disk space")

    def test_a_path_too_long_for_sockets(self) -> None:
        self.assert_one(replace(GOOD, socket_path=101), "too long", "shorter")

    def test_everything_that_is_missing_is_told_at_once(self) -> None:
        facts = replace(GOOD, release=("", ""), broker_program=False, megabytes=0, writable=False)
        self.assertEqual(len(problems(facts, STATE)), 4)


class GatherTests(SynchronousTestCase):
    """Reading what the system says."""

    def test_capabilities_are_read_from_the_effective_set(self) -> None:
        status = "Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t0000000000201000\n"
        self.assertEqual(preflight._capabilities(status), {12, 21})
        self.assertEqual(preflight._capabilities("Name:\tx\n"), frozenset())

    def test_a_release_is_read_with_and_without_quotes(self) -> None:
        path = Path(self.mktemp())
        path.write_text('NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n')
        self.assertEqual(preflight._release(path), ("debian", "12"))
        self.assertEqual(preflight._release(path / "none"), ("", ""))

    def test_the_first_of_several_brokers_is_asked(self) -> None:
        urls = "rabbit://u:p@one:5673,u:p@two:5674/vhost"
        self.assertEqual(preflight._broker_of(urls), ("one", 5673))
        self.assertEqual(preflight._broker_of("rabbit://u:p@[fd00::1]/"), ("fd00::1", 5672))

    def test_a_lock_that_somebody_holds_tells_who(self) -> None:
        path = Path(self.mktemp())
        self.assertIsNone(holder_of(path))
        with path.open("w") as held:
            held.write("4711\n")
            held.flush()
            self.assertIsNone(holder_of(path), "written, and not held")
            fcntl.flock(held, fcntl.LOCK_EX)
            self.assertEqual(holder_of(path), 4711)
