"""Whatever firewall is valid, nftables takes the text that is written for it."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nfp.device import ruleset
from nfp.device.nft import Nft, NftError
from nfp.model.firewall import normalise
from nfp.netns import namespaces
from nfp.netns.inside import inside
from tests.functional.device.lab import Lab

SERVICE = "6d0cbf5d-93e5-4a43-8d3c-0a3c38d0b3c2"
NAMES = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=("C", "Z")), max_size=30),
    st.sampled_from(['"; drop', "} }", "established", "default", "fwd", "$(reboot)", "a b", "#", "\\"]),
)
PORTS = st.one_of(
    st.none(),
    st.integers(1, 65535),
    st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda two: f"{min(two)}:{max(two)}"),
)


@st.composite
def rules(draw: Any) -> dict[str, Any]:
    version = draw(st.sampled_from([4, 6]))
    addresses = st.one_of(st.none(), st.ip_addresses(v=version).map(str))
    protocol = draw(
        st.one_of(st.sampled_from(["tcp", "udp", "sctp", "icmp", "any", None]), st.integers(0, 255))
    )
    ported = protocol in ("tcp", "udp", "sctp", 6, 17, 132)
    if protocol == 1:
        version = 4
    if protocol == 58:
        version = 6
    addresses = st.one_of(st.none(), st.ip_addresses(v=version).map(str))
    lengths = st.integers(0, 32 if version == 4 else 128)
    source, destination = draw(addresses), draw(addresses)
    return {
        "id": draw(NAMES),
        "name": draw(NAMES),
        "protocol": protocol,
        "ip_version": draw(st.sampled_from([None, version])),
        "source_ip_address": source if source is None else f"{source}/{draw(lengths)}",
        "destination_ip_address": destination,
        "source_port": draw(PORTS) if ported else None,
        "destination_port": draw(PORTS) if ported else None,
        "action": draw(st.sampled_from(["allow", "deny", "reject"])),
        "enabled": draw(st.booleans()),
    }


FIREWALLS = st.builds(
    lambda listed, action, up: normalise(
        {"firewall": {"rules": listed, "default_action": action, "admin_state_up": up}}
    )["firewall"],
    st.lists(rules(), max_size=8, unique_by=lambda rule: rule["id"] or object()),
    st.sampled_from(["allow", "deny"]),
    st.booleans(),
)


class GrammarTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lab = Lab()
        self.addCleanup(self.lab.remove)
        namespaces.ensure(self.lab.device())

    def test_any_valid_firewall_replaces_any_other(self) -> None:
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(FIREWALLS, FIREWALLS, st.sampled_from([None, 0, 1]), st.booleans())
        def holds(first: Any, second: Any, slot: int | None, anew: bool) -> None:
            def write(wanted: Any, generation: int, replaces: Any, fresh: bool) -> str:
                return ruleset.script(
                    SERVICE,
                    wanted,
                    digest=f"{generation:064x}",
                    slot=slot,
                    generation=generation,
                    replaces=replaces,
                    management_address="fd00::1",
                    anew=fresh,
                )

            def work() -> None:
                table = ruleset.table_name(SERVICE)
                with Nft() as nft:
                    nft.transaction(write(first, 1, None, False))
                    nft.transaction(write(second, 65535, first, anew))
                    listing = nft.listing(table)
                    assert listing is not None
                    self.assertEqual(ruleset.digest_in(listing), f"{65535:064x}")
                    self.assertEqual(set(nft.counters(table)), ruleset.names_of(second))
                    nft.transaction(ruleset.removal(SERVICE))
                    self.assertIsNone(nft.listing(table))

            inside(self.lab.device(), work)

        holds()

    def test_a_refused_transaction_changes_nothing(self) -> None:
        def work() -> None:
            with Nft() as nft:
                nft.transaction("add table inet mine\nadd counter inet mine one\n")
                with self.assertRaises(NftError) as caught:
                    nft.transaction("add counter inet mine two\nadd rule inet mine nowhere accept\n")
                self.assertIn("No such file", str(caught.exception))
                with self.assertRaises(NftError):
                    nft.check("add rule inet mine nowhere accept\n")
                nft.check("add counter inet mine three\n")
                self.assertEqual(set(nft.counters("mine")), {"one"})

        inside(self.lab.device(), work)
