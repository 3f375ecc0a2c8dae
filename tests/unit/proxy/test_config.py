"""Reading ``[proxy]``."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon.settings import SettingsError
from nfp.proxy.config import ProxySettings, read


class ReadTests(SynchronousTestCase):
    def read(self, text: str) -> ProxySettings:
        path = Path(self.mktemp())
        path.write_text(f"[proxy]\n{text}")
        return read([str(path)])

    def test_defaults(self) -> None:
        self.assertEqual(
            self.read("socket = /run/p.sock\ntarget = [fd00::2]:9443\n"),
            ProxySettings("/run/p.sock", "fd00::2", 9443, 0o660, 5.0, 120.0, 512),
        )

    def test_a_target_may_be_an_address_or_a_name(self) -> None:
        for text, host in (("10.0.0.1:80", "10.0.0.1"), ("cfg.example:80", "cfg.example")):
            settings = self.read(f"socket = /run/p.sock\ntarget = {text}\n")
            self.assertEqual((settings.target_host, settings.target_port), (host, 80))
            self.assertEqual(settings.target, text)

    def test_a_target_without_a_port_is_refused(self) -> None:
        for text in ("10.0.0.1", "fd00::2:9443", "[fd00::2]", "x:0", "x:70000", ":80"):
            error = self.assertRaises(SettingsError, self.read, f"socket = /run/p.sock\ntarget = {text}\n")
            self.assertIn("[proxy] target", str(error))

    def test_every_problem_is_told(self) -> None:
        error = self.assertRaises(SettingsError, self.read, "socket = p.sock\ntarget = x\nmode = 999\n")
        self.assertEqual(len(error.problems), 3)

    def test_the_mode_is_octal(self) -> None:
        self.assertEqual(self.read("socket = /p\ntarget = a:1\nmode = 0600\n").mode, 0o600)

    def test_a_path_that_the_kernel_would_not_take_is_refused(self) -> None:
        error = self.assertRaises(SettingsError, self.read, f"socket = /{'p' * 107}\ntarget = a:1\n")
        self.assertIn("107 bytes", str(error))
