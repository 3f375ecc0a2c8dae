"""The certificate authority."""

from __future__ import annotations

import ipaddress
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Invalid, NotFound
from nfp.pki.authority import CA_LIFE, LIFE, SKEW, Authority, due, read_certificate

START = datetime(2024, 5, 1, tzinfo=UTC)


class AuthorityCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.time = START
        self.where = Path(self.mktemp())

    def now(self) -> datetime:
        return self.time

    def authority(self) -> Authority:
        return Authority.create(self.where, now=self.now)

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.where / name).stat().st_mode)


class CreateTests(AuthorityCase):
    def test_it_signs_itself_and_may_sign_others_but_no_further_authority(self) -> None:
        certificate = self.authority().certificate
        certificate.verify_directly_issued_by(certificate)
        said = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertTrue(said.critical)
        self.assertEqual(said.value, x509.BasicConstraints(ca=True, path_length=0))
        self.assertEqual(certificate.not_valid_before_utc, START - SKEW)
        self.assertEqual(certificate.not_valid_after_utc, START - SKEW + CA_LIFE)

    def test_only_its_owner_can_read_the_key(self) -> None:
        self.authority()
        self.assertEqual((self.mode("ca.key"), self.mode("ca.pem")), (0o600, 0o644))
        self.assertEqual(stat.S_IMODE(self.where.stat().st_mode), 0o700)

    def test_made_again_it_is_the_same(self) -> None:
        first = self.authority().certificate
        self.time += timedelta(days=1)
        self.assertEqual(self.authority().certificate, first)

    def test_a_crash_between_key_and_certificate_is_finished_the_next_time(self) -> None:
        self.authority()
        key = (self.where / "ca.key").read_bytes()
        (self.where / "ca.pem").unlink()
        self.authority().issue("agent.h")
        self.assertEqual((self.where / "ca.key").read_bytes(), key)

    def test_two_authorities_bear_different_names(self) -> None:
        other = Authority.create(self.mktemp(), now=self.now)
        self.assertNotEqual(self.authority().certificate.subject, other.certificate.subject)

    def test_there_is_none(self) -> None:
        self.where.mkdir()
        self.assertRaises(NotFound, Authority.load, self.where)

    def test_a_key_that_is_not_the_certificates_is_refused(self) -> None:
        self.authority()
        other = Path(self.mktemp())
        Authority.create(other)
        (self.where / "ca.key").write_bytes((other / "ca.key").read_bytes())
        self.assertRaises(ValueError, Authority.load, self.where)

    def test_with_two_certificates_in_the_file_its_own_signs(self) -> None:
        """As it is while one authority takes over from another."""
        mine = self.authority()
        other = Authority.create(self.mktemp(), now=self.now)
        path = self.where / "ca.pem"
        path.write_bytes(other.ca_path.read_bytes() + path.read_bytes())
        self.assertEqual(Authority.load(self.where).certificate, mine.certificate)


class IssueTests(AuthorityCase):
    def test_a_certificate_says_who_and_for_what(self) -> None:
        path = self.authority().issue("device.h1", dns=["device.h1", "d"], ip=["fd00::1", "10.0.0.1"])
        certificate = read_certificate(path)
        self.assertEqual(path, self.where / "device.h1.pem")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["device.h1", "d"])
        self.assertEqual(
            names.get_values_for_type(x509.IPAddress),
            [ipaddress.ip_address("fd00::1"), ipaddress.ip_address("10.0.0.1")],
        )
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(set(uses), {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
        self.assertFalse(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        certificate.verify_directly_issued_by(self.authority().certificate)

    def test_its_key_is_beside_it_and_nobody_else_can_read_it(self) -> None:
        path = self.authority().issue("agent.h1")
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.assertEqual(key.curve.name, "secp256r1")
        self.assertEqual(key.public_key(), read_certificate(path).public_key())
        self.assertEqual(self.mode("agent.h1.pem"), 0o600)

    def test_a_client_or_a_server_only(self) -> None:
        authority = self.authority()
        for name, client, use in (("a.c", True, ExtendedKeyUsageOID.CLIENT_AUTH),
                                  ("a.s", False, ExtendedKeyUsageOID.SERVER_AUTH)):  # fmt: skip
            certificate = read_certificate(authority.issue(name, client=client, server=not client))
            uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            self.assertEqual(list(uses), [use])
        self.assertRaises(Invalid, authority.issue, "a.n", client=False, server=False)

    def test_asked_again_it_gives_the_same_file(self) -> None:
        authority = self.authority()
        before = authority.issue("agent.h1").read_bytes()
        self.time += LIFE / 2
        self.assertEqual(self.authority().issue("agent.h1").read_bytes(), before)

    def test_two_thirds_through_its_life_it_is_renewed(self) -> None:
        authority = self.authority()
        path = authority.issue("agent.h1")
        before = path.read_bytes()
        self.time = START - SKEW + LIFE * 2 / 3
        authority.issue("agent.h1")
        self.assertNotEqual(path.read_bytes(), before)
        self.assertEqual(read_certificate(path).not_valid_before_utc, self.time - SKEW)

    def test_other_names_or_uses_make_another(self) -> None:
        authority = self.authority()
        seen = {authority.issue("x").read_bytes()}
        seen.add(authority.issue("x", dns=["x", "y"]).read_bytes())
        seen.add(authority.issue("x", dns=["x", "y"], ip=["::1"]).read_bytes())
        seen.add(authority.issue("x", dns=["x", "y"], ip=["::1"], client=False).read_bytes())
        self.assertEqual(len(seen), 4)

    def test_a_broken_file_and_one_of_another_authority_are_replaced(self) -> None:
        authority = self.authority()
        path = authority.issue("x")
        other = Authority.create(self.mktemp(), now=self.now).issue("x").read_bytes()
        for content in (b"", path.read_bytes()[:100], other):
            path.write_bytes(content)
            read_certificate(authority.issue("x")).verify_directly_issued_by(authority.certificate)

    def test_none_outlives_its_authority(self) -> None:
        authority = self.authority()
        self.time = START + CA_LIFE - timedelta(days=10)
        certificate = read_certificate(authority.issue("x"))
        self.assertEqual(certificate.not_valid_after_utc, authority.certificate.not_valid_after_utc)

    def test_names_that_could_leave_the_directory_or_match_others_are_refused(self) -> None:
        authority = self.authority()
        for name in (
            "../x",
            "a/b",
            "",
            ".",
            "a..b",
            "*.x",
            "A",
            "a_b",
            "ca",
            "-a",
            "a-",
            "x" * 64,
            "é",
            "a\n",
        ):
            self.assertRaises(Invalid, authority.issue, name)
            self.assertRaises(Invalid, authority.issue, "good", dns=[name]) if name != "ca" else None
        self.assertRaises(Invalid, authority.issue, "good", ip=["10.0.0.256"])
        self.assertEqual(sorted(path.name for path in self.where.iterdir()), ["ca.key", "ca.pem"])

    def test_nothing_is_left_beside_the_files(self) -> None:
        self.authority().issue("x")
        self.assertEqual(sorted(path.name for path in self.where.iterdir()), ["ca.key", "ca.pem", "x.pem"])


class DueTests(AuthorityCase):
    def test_due_from_two_thirds_on(self) -> None:
        certificate = read_certificate(self.authority().issue("x", life=timedelta(days=3)))
        moment = certificate.not_valid_before_utc + timedelta(days=2)
        self.assertFalse(due(certificate, moment - timedelta(seconds=1)))
        self.assertTrue(due(certificate, moment))
