"""The files of a deployment."""

from __future__ import annotations

import shutil
import stat
import tempfile
from pathlib import Path

from oslo_config import cfg
from twisted.trial.unittest import SynchronousTestCase

import nfp.agent.config
import nfp.configurator.config
import nfp.device.config
import nfp.manager.config
import nfp.manager.lifecycle.config
import nfp.proxy.config
from nfp.daemon.settings import SettingsError, load
from nfp.embedded import configuration
from nfp.embedded.state_dir import StateDir
from nfp.model.errors import Invalid
from nfp.model.secret import Secret

URL = Secret("rabbit://nfp:pa$$word@127.0.0.1:5672/")


class WriteTests(SynchronousTestCase):
    """What nfp up writes must be what the components read."""

    def setUp(self) -> None:
        # Not mktemp: the paths of sockets must be short.
        root = tempfile.mkdtemp(prefix="nfp-conf-")
        self.addCleanup(shutil.rmtree, root)
        self.state = StateDir.at(root)

    def write(self, text: str = "") -> list[str]:
        mine = Path(self.mktemp())
        mine.write_text(text)
        settings = configuration.read(self.state, [str(mine)])
        configuration.write(self.state, settings, URL)
        return [str(self.state.configuration), *settings.files]

    def test_every_component_takes_it(self) -> None:
        files = self.write()
        for module in (
            nfp.agent.config,
            nfp.configurator.config,
            nfp.device.config,
            nfp.manager.config,
            nfp.manager.lifecycle.config,
            nfp.proxy.config,
        ):
            module.read(files)

    def test_proxy_configurator_and_agent_meet(self) -> None:
        files = self.write()
        proxy, configurator = nfp.proxy.config.read(files), nfp.configurator.config.read(files)
        self.assertEqual((proxy.target_host, proxy.target_port), (configurator.host, configurator.port))
        self.assertEqual(proxy.socket, str(self.state.proxy_socket("service")))

    def test_the_driver_and_the_device_runtime_meet(self) -> None:
        files = self.write()
        driver, device = nfp.manager.lifecycle.config.read(files), nfp.device.config.read(files)
        self.assertEqual(driver.device_socket, device.socket)
        self.assertTrue(driver.device_names.startswith(self.state.namespace_prefix))

    def test_secrets_are_for_the_owner_only(self) -> None:
        self.write()
        for path in (self.state.configuration, self.state.transport_url):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_a_bad_option_of_any_component_is_found_before_anything_is_written(self) -> None:
        mine = Path(self.mktemp())
        mine.write_text(
            "[configurator]\nworkers = many\n[proxy]\nidle_timeout = 0\n[namespace]\ndevice_port = 99999\n"
        )
        found = configuration.check(self.state, configuration.read(self.state, [str(mine)]))
        self.assertEqual(len(found), 3, found)
        for where in ("[configurator] workers", "[proxy] idle_timeout", "[namespace] device_port"):
            self.assertTrue(any(where in problem for problem in found), where)
        self.assertEqual(list(self.state.root.iterdir()), [])

    def test_good_files_are_found_good(self) -> None:
        self.assertEqual(configuration.check(self.state, configuration.read(self.state, [])), [])

    def test_a_dollar_in_a_password_survives(self) -> None:
        files = self.write()
        option = cfg.StrOpt("transport_url")
        self.assertEqual(load(files, {"DEFAULT": [option]}).transport_url, URL.reveal())
        self.assertEqual(self.state.transport_url.read_text().strip(), URL.reveal())

    def test_the_operators_file_wins(self) -> None:
        files = self.write("[configurator]\nworkers = 7\n[proxy]\nidle_timeout = 77\n")
        self.assertEqual(nfp.configurator.config.read(files).workers, 7)
        self.assertEqual(nfp.proxy.config.read(files).idle_timeout, 77)

    def test_the_service_tenants_name_is_a_setting(self) -> None:
        files = self.write("[manager]\nconfigurator = cloud7\n")
        self.assertEqual(nfp.proxy.config.read(files).socket, str(self.state.proxy_socket("cloud7")))
        self.assertTrue((self.state.pki / "configurator.cloud7.pem").exists())

    def test_writing_again_keeps_certificates(self) -> None:
        self.write()
        before = {path.name: path.read_bytes() for path in self.state.pki.iterdir() if path.is_file()}
        self.write()
        after = {path.name: path.read_bytes() for path in self.state.pki.iterdir() if path.is_file()}
        self.assertEqual(before, after)

    def test_the_database_is_found_again(self) -> None:
        self.write()
        self.assertEqual(configuration.read_connection(self.state), f"sqlite:///{self.state.database}")

    def test_before_the_first_start_there_is_no_database(self) -> None:
        self.assertRaises(SettingsError, configuration.read_connection, self.state)


class NamesTests(SynchronousTestCase):
    """Names that are computed."""

    def test_certificate_names_have_only_letters_that_a_certificate_takes(self) -> None:
        self.assertEqual(
            configuration.certificate_name("agent", "Node_1.Example.org"), "agent.node-1.example.org"
        )

    def test_two_directories_share_no_name(self) -> None:
        one, other = StateDir(Path("/srv/one")), StateDir(Path("/srv/two"))
        self.assertNotEqual(one.tag, other.tag)
        self.assertNotEqual(one.management_prefix, other.management_prefix)

    def test_addresses_are_of_the_prefix(self) -> None:
        state = StateDir(Path("/srv/nfp"))
        self.assertEqual(state.management_address(2), f"{state.management_prefix}2")
        self.assertTrue(state.management_prefix.startswith("fd"))

    def test_a_lab_name_must_fit_a_namespace(self) -> None:
        state = StateDir(Path("/srv/nfp"))
        self.assertEqual(state.lab("web-1"), f"nfp-{state.tag}-l-web-1")
        for name in ("", "Web", "a/b", "../x", "-x", "x" * 33):
            self.assertRaises(Invalid, state.lab, name)
