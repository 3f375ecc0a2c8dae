"""Reading ``[agent]``."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nfp.agent.config import AgentSettings, ConfiguratorSettings, read
from nfp.daemon.settings import SettingsError

DEFAULT = "transport_url = rabbit://u:p@h:1/v\nhost = h1\n"


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pem = Path(self.mktemp())
        self.pem.write_text("")
        self.pem = self.pem.resolve()

    def read(
        self, agent: str, default: str = "transport_url = rabbit://u:p@h:1/v\nhost = h1\n"
    ) -> AgentSettings:
        path = Path(self.mktemp())
        path.write_text(f"[DEFAULT]\n{default}[agent]\ncertificate = {self.pem}\nca = {self.pem}\n{agent}")
        return read([str(path)])

    def test_configurators_with_tenants_and_routers(self) -> None:
        settings = self.read("configurators = a:/run/a.sock,b:/run/b.sock\ntenants = b:t2\nrouters = a:r1\n")
        self.assertEqual(
            settings.configurators,
            (
                ConfiguratorSettings("a", "/run/a.sock", "a", "r1"),
                ConfiguratorSettings("b", "/run/b.sock", "t2", None),
            ),
        )
        self.assertEqual(settings.host, "h1")

    def test_every_problem_is_told(self) -> None:
        error = self.assertRaises(
            SettingsError,
            self.read,
            "configurators = A_b:a.sock\nserver_name = {x}\nrouters = z:r\n",
            "transport_url = http://x\n",
        )
        self.assertEqual(len(error.problems), 5)

    def test_the_password_of_a_bad_url_is_not_told(self) -> None:
        error = self.assertRaises(
            SettingsError, self.read, "configurators = a:/a\n", "transport_url = rabbit://u:hush@h:x/\n"
        )
        self.assertIn("transport_url", str(error))
        self.assertNotIn("hush", str(error))
