"""What is kept of a wanted state is what would be derived anew."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nfp.model.derived import derive
from nfp.model.digest import digest
from nfp.model.errors import Invalid
from nfp.model.services import spec_of
from tests.unit.manager.requests import SERVICE_ID, firewall, network_service

VENDORS = {"*": "nftables"}


class DerivedTests(SynchronousTestCase):
    def wanted(self, **changes: Any) -> dict[str, Any]:
        return {**network_service(id=SERVICE_ID), **changes}

    def test_it_is_the_spec_and_its_digest(self) -> None:
        wanted = self.wanted()
        derived = derive(wanted, wanted, VENDORS)
        self.assertEqual(derived.spec, spec_of(wanted, wanted, VENDORS))
        self.assertTrue(derived.spec.ports and derived.spec.routes)
        self.assertEqual(derived.digest, digest(asdict(derived.spec)))

    def test_equal_states_share_one(self) -> None:
        first, second = self.wanted(), self.wanted(name="another")
        self.assertIs(derive(first, first, VENDORS), derive(second, second, VENDORS))

    def test_whatever_a_spec_depends_on_tells_states_apart(self) -> None:
        first = self.wanted()
        derive(first, first, VENDORS)
        for changes in (
            {"id": SERVICE_ID.replace("1", "2")},
            {"tenant_id": "another"},
            {"service_chain_id": "another"},
            {"service_profile": {"service_type": "FIREWALL", "service_flavor": "another"}},
            {"service_config": firewall(81)},
            {"provider": first["consumer"]},
            {"consumer": first["provider"]},
        ):
            second = self.wanted(**changes)
            self.assertEqual(derive(second, second, VENDORS).spec, spec_of(second, second, VENDORS))
            self.assertNotEqual(spec_of(second, second, {}), spec_of(first, first, {}), changes)
        self.assertEqual(derive(first, first, {"*": "x"}).spec.service_vendor, "x")

    def test_what_the_caller_changes_later_does_not_reach_it(self) -> None:
        wanted = self.wanted(service_config=firewall(8080))
        derived = derive(wanted, wanted, VENDORS)
        before = digest(asdict(derived.spec))
        wanted["service_config"]["firewall"]["rules"].clear()
        self.assertEqual(digest(asdict(derived.spec)), before)

    def test_a_large_state_is_derived_but_not_kept(self) -> None:
        rules = [{"protocol": "tcp", "destination_port": str(n), "action": "allow"} for n in range(1, 1000)]
        wanted = self.wanted(service_config={"firewall": {"rules": rules}})
        first, second = derive(wanted, wanted, VENDORS), derive(wanted, wanted, VENDORS)
        self.assertEqual(first.spec, second.spec)
        self.assertIsNot(first, second)

    def test_a_bad_state_is_invalid_each_time(self) -> None:
        wanted = self.wanted(service_config="nonsense")
        for _ in range(2):
            error = self.assertRaises(Invalid, derive, wanted, wanted, VENDORS)
            self.assertEqual(error.field, "service_config")
