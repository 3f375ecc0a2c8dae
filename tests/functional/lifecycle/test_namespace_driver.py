"""The namespace driver on real namespaces, beside a real device runtime."""

from __future__ import annotations

import json
import shutil
import socketserver
import tempfile
import threading
import uuid
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any
from unittest import TestCase

from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.lifecycle.config import NamespaceSettings
from nfp.manager.lifecycle.namespace import NamespaceDriver
from nfp.model.errors import Permanent, Transient
from nfp.model.states import BackendStatus
from nfp.netns import inside, links, namespaces
from nfp.testing.lifecycle_contract import device, gateway_ports, make_lifecycle_tests, port


class ControlSocket(socketserver.ThreadingUnixStreamServer):
    """A device runtime's control socket: remembers what it was asked to serve."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.served: dict[str, Any] = {}
        super().__init__(str(path), ControlRequest)


class ControlRequest(BaseHTTPRequestHandler):
    """One request on it."""

    server: ControlSocket

    def log_message(self, *_: object) -> None:
        """Silence."""

    def answer(self, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_PUT(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.served[self.path.rpartition("/")[2]] = told
        self.answer({"listening": True})

    def do_DELETE(self) -> None:
        self.server.served.pop(self.path.rpartition("/")[2], None)
        self.answer({"listening": False})

    def do_GET(self) -> None:
        self.answer({"namespaces": self.server.served})


class World:
    """A fabric, a control socket and a driver, all of one test."""

    def __init__(self, case: TestCase | SynchronousTestCase) -> None:
        tag = uuid.uuid4().hex[:6]
        self.directory = Path(tempfile.mkdtemp(prefix="nfp-driver-"))
        case.addCleanup(shutil.rmtree, self.directory)
        self.fabric = f"nfpt-{tag}-fab"
        namespaces.create(self.fabric)
        case.addCleanup(self.remove_namespaces, f"nfpt-{tag}-")
        self.control = ControlSocket(self.directory / "device.sock")
        threading.Thread(target=self.control.serve_forever, args=(0.02,), daemon=True).start()
        case.addCleanup(self.control.server_close)
        case.addCleanup(self.control.shutdown)
        self.settings = NamespaceSettings(
            fabric=self.fabric,
            device_names=f"nfpt-{tag}-d-",
            prefix=IPv6Address("fd00:0:0:1::"),
            run_dir=self.directory,
            device_socket=str(self.directory / "device.sock"),
            device_port=9444,
            device_server_name="device.test",
            device_timeout=5.0,
        )
        self.driver = NamespaceDriver(self.settings)

    def remove_namespaces(self, prefix: str) -> None:
        for name in namespaces.names(prefix):
            namespaces.delete(name, force=True)

    def bridges(self) -> list[str]:
        return [link.name for link in links.list_links(self.fabric) if link.name.startswith("b")]


class NamespaceDriverContract(make_lifecycle_tests(lambda case: World(case).driver)):  # type: ignore[misc]
    """What every driver must do."""


class NamespaceDriverTests(SynchronousTestCase):
    """What is this driver's own."""

    def setUp(self) -> None:
        self.world = World(self)
        self.driver = self.world.driver

    def test_names_macs_and_management_address_are_computed_from_the_id(self) -> None:
        wanted = replace(device(gateway_ports()), id="aabbccdd-1122-4344-9566-77889900aabb")
        created = self.driver.create_nsd(wanted)
        self.assertTrue(created.backend_id.endswith("-d-aabbccdd1122"))
        self.assertEqual(created.management_address, "fd00::1:aabb:ccdd:1122:4344")
        self.assertEqual([one.name for one in created.interfaces], ["eth1", "eth2"])
        there = {link.name: link for link in links.list_links(created.backend_id)}
        self.assertEqual(there["eth0"].addresses, ("fd00::1:aabb:ccdd:1122:4344/64",))
        self.assertEqual([there[f"eth{n}"].mac for n in (1, 2)], [one.mac_address for one in wanted.ports])

    def test_data_ports_have_no_address_before_the_device_is_configured(self) -> None:
        created = self.driver.create_nsd(device(gateway_ports()))
        there = {link.name: link.addresses for link in links.list_links(created.backend_id)}
        self.assertEqual((there["eth1"], there["eth2"]), ((), ()))

    def test_a_device_forwards_nothing_before_its_runtime_lets_it(self) -> None:
        created = self.driver.create_nsd(device(gateway_ports()))
        for sysctl in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            self.assertEqual(inside.get_sysctl(created.backend_id, sysctl), "0")

    def test_the_runtime_serves_exactly_what_is_there(self) -> None:
        wanted = device(gateway_ports())
        created = self.driver.create_nsd(wanted)
        served = self.world.control.served[wanted.id]
        self.assertEqual(served["namespace"], created.backend_id)
        self.assertEqual(served["address"], created.management_address)
        self.driver.delete_nsd(wanted)
        self.assertEqual(self.world.control.served, {})

    def test_bridges_come_with_the_first_port_and_go_with_the_last(self) -> None:
        provider, consumer = gateway_ports()
        one, other = device((provider, consumer)), device((replace(port("provider", "10.9.0.2/24", 9)),))
        other = replace(other, ports=(replace(other.ports[0], network_id=provider.network_id),))
        self.driver.create_nsd(one)
        self.assertEqual(len(self.world.bridges()), 3)
        self.driver.create_nsd(other)
        self.assertEqual(len(self.world.bridges()), 3)
        self.driver.delete_nsd(one)
        self.assertEqual(len(self.world.bridges()), 2, "management, and the network that is still in use")
        self.driver.delete_nsd(other)
        self.assertEqual(len(self.world.bridges()), 1)

    def test_what_a_kill_left_in_the_middle_is_completed(self) -> None:
        wanted = device(gateway_ports())
        name = self.driver.namespace_of(wanted.id)
        # Killed after the namespace, before its links; then after one link, before it was up.
        namespaces.create(name)
        self.driver.plug_nsd_interface(wanted, wanted.ports[1])
        self.assertEqual(self.driver.get_nsd_status(wanted).status, BackendStatus.ERROR)
        created = self.driver.create_nsd(wanted)
        self.assertEqual([one.name for one in created.interfaces], ["eth2", "eth1"])
        self.assertEqual(self.driver.get_nsd_status(wanted).status, BackendStatus.ACTIVE)

    def test_a_record_that_a_kill_left_half_written_goes_with_the_device(self) -> None:
        wanted = device(gateway_ports())
        records = self.world.directory / "devices"
        records.mkdir()
        (records / f"{self.driver.namespace_of(wanted.id)}.new").write_text('{"id": "')
        self.driver.delete_nsd(wanted)
        self.assertEqual(list(records.iterdir()), [])

    def test_a_left_over_file_is_no_device(self) -> None:
        wanted = device(gateway_ports())
        path = namespaces.path_of(self.driver.namespace_of(wanted.id))
        path.touch()
        self.assertNotEqual(self.driver.get_nsd_status(wanted).status, BackendStatus.ACTIVE)
        self.driver.create_nsd(wanted)
        self.assertEqual(self.driver.get_nsd_status(wanted).status, BackendStatus.ACTIVE)

    def test_a_runtime_that_is_away_is_transient_and_not_a_verdict_on_the_device(self) -> None:
        wanted = device(gateway_ports())
        self.driver.create_nsd(wanted)
        away = NamespaceDriver(replace(self.world.settings, device_socket=str(self.world.directory / "none")))
        self.assertEqual(away.get_nsd_status(wanted).status, BackendStatus.UNKNOWN)
        self.assertRaises(Transient, away.create_nsd, wanted)
        self.assertRaises(Transient, away.delete_nsd, wanted)
        self.assertTrue(namespaces.exists(self.driver.namespace_of(wanted.id)))

    def test_a_device_that_the_runtime_does_not_know_is_an_error_until_it_is_made_again(self) -> None:
        wanted = device(gateway_ports())
        self.driver.create_nsd(wanted)
        self.world.control.served.clear()
        self.assertEqual(self.driver.get_nsd_status(wanted).status, BackendStatus.ERROR)
        self.driver.create_nsd(wanted)
        self.assertEqual(self.driver.get_nsd_status(wanted).status, BackendStatus.ACTIVE)

    def test_a_process_inside_does_not_keep_a_device_alive(self) -> None:
        wanted = device(gateway_ports())
        created = self.driver.create_nsd(wanted)
        process = inside.popen_inside(created.backend_id, ["sleep", "600"])
        self.addCleanup(process.kill)
        self.driver.delete_nsd(wanted)
        self.assertNotEqual(process.wait(5), 0)
        self.assertEqual(self.driver.get_nsd_status(wanted).status, BackendStatus.GONE)

    def test_without_a_fabric_nothing_is_made(self) -> None:
        namespaces.delete(self.world.fabric)
        wanted = device(gateway_ports())
        self.assertRaises(Transient, self.driver.create_nsd, wanted)
        self.assertEqual(self.driver.get_nsd_status(wanted).status, BackendStatus.GONE)

    def test_two_ports_with_one_mac_are_refused_for_good(self) -> None:
        provider, consumer = gateway_ports()
        wanted = device((provider, replace(consumer, mac_address=provider.mac_address)))
        self.assertRaises(Permanent, self.driver.create_nsd, wanted)

    def test_twenty_devices_are_made_at_once_by_several_threads(self) -> None:
        wanted = [device(gateway_ports()) for _ in range(20)]
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for one in wanted[number::4]:
                    self.driver.create_nsd(one)
                    self.driver.delete_nsd(one)
            except BaseException as error:  # noqa: BLE001 - shown below
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(len(self.world.bridges()), 1)
        self.assertEqual(list((self.world.directory / "devices").iterdir()), [])
