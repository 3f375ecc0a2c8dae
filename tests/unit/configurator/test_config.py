"""Tests for the configurator's configuration."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nfp.configurator.config import read, split_address
from nfp.daemon.settings import SettingsError


class Configuration(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.pem = self.directory / "c.pem"
        self.pem.write_text("")

    def test_defaults(self) -> None:
        settings = read([self.file(f"certificate = {self.pem}\nca = {self.pem}\n")])
        self.assertEqual((settings.tenant, settings.host, settings.port), ("service", "::", 9443))
        self.assertEqual((settings.clients, settings.modules, settings.workers), (("agent.*",), None, 2))

    def file(self, text: str) -> str:
        path = self.directory / "nfp.conf"
        path.write_text(f"[configurator]\n{text}")
        return str(path)

    def test_everything_wrong_is_listed(self) -> None:
        text = f"certificate = {self.directory}/none.pem\nca = {self.pem}\nlisten = somewhere\nclients =\n"
        error = self.assertRaises(SettingsError, read, [self.file(text)])
        self.assertEqual(len(error.problems), 3, error.problems)
        for part in ("certificate", "listen", "clients"):
            self.assertIn(part, str(error))

    def test_addresses(self) -> None:
        for text, expected in (
            ("192.0.2.1:9443", ("192.0.2.1", 9443)),
            ("[2001:db8::1]:0", ("2001:db8::1", 0)),
            ("2001:db8::1:9443", None),
            ("[192.0.2.1]:9443", None),
            ("localhost:9443", None),
            ("192.0.2.1:65536", None),
            ("192.0.2.1", None),
            ("192.0.2.1:", None),
            ("", None),
        ):
            self.assertEqual(split_address(text), expected, text)
