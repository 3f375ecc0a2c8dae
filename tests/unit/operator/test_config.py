"""Tests for finding the manager."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon.settings import SettingsError
from nfp.operator import config


class Files(SynchronousTestCase):
    def test_a_state_directory_holds_its_file_and_named_files_come_over_it(self) -> None:
        self.assertEqual(config.files("/d", ["/x.conf"], {}), ["/d/nfp.conf", "/x.conf"])

    def test_the_environment_counts_only_when_nothing_is_named(self) -> None:
        environ = {"NFP_CONFIG": "/a:/b"}
        self.assertEqual(config.files(None, [], environ), ["/a", "/b"])
        self.assertEqual(config.files(None, ["/x"], environ), ["/x"])

    def test_the_default_file_counts_only_when_it_is_there(self) -> None:
        default = Path(self.mktemp())
        self.patch(config, "DEFAULT_FILE", str(default))
        self.assertEqual(config.files(None, [], {}), [])
        default.write_text("")
        self.assertEqual(config.files(None, [], {}), [str(default)])


class Reading(SynchronousTestCase):
    def written(self, text: str) -> list[str]:
        path = Path(self.mktemp())
        path.write_text(text)
        return [str(path)]

    def problem(self, files: list[str], url: str | None = None) -> str:
        with self.assertRaises(SettingsError) as caught:
            config.read(files, url)
        return str(caught.exception)

    def test_the_url_and_how_rpc_is_spoken_come_from_the_file(self) -> None:
        settings = config.read(
            self.written(
                "[DEFAULT]\ntransport_url=rabbit://u:p@h:1/v\ncontrol_exchange=x\n[rabbit]\namqp_durable_queues=true\n"
            )
        )
        self.assertEqual(settings.url.hosts, (("h", 1),))
        self.assertEqual((settings.rpc.exchange, settings.rpc.durable_queues), ("x", True))
        self.assertNotIn("p@", repr(settings))

    def test_a_given_url_goes_before_the_files(self) -> None:
        files = self.written("[DEFAULT]\ntransport_url=rabbit://u:p@h:1/v\n")
        self.assertEqual(config.read(files, "rabbit://other:2/").url.hosts, (("other", 2),))
        self.assertEqual(config.read([], "rabbit://other:2/").url.hosts, (("other", 2),))

    def test_problems_are_told_without_secrets(self) -> None:
        self.assertIn("--state-dir", self.problem([]))
        self.assertIn("transport_url: is required", self.problem(self.written("")))
        bad = self.problem(self.written("[DEFAULT]\ntransport_url=http://u:topsecret@h/\n"))
        self.assertIn("transport_url", bad)
        self.assertNotIn("topsecret", bad)
