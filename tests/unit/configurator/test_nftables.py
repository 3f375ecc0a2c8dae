"""Tests for how the reference driver reads a device's answers."""

from __future__ import annotations

import json
from typing import Any

from klein import Klein
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest

from nfp.configurator.drivers.nftables import MOST_CLIENTS, NftablesDriver
from nfp.model.devices import DeviceAddress, DeviceRequest
from nfp.model.errors import Stale, Transient
from nfp.model.order import Order
from nfp.rest.client import JsonClient
from nfp.rest.dial import over_tcp
from nfp.rest.errors import answer_error, answer_json
from tests.unit.configurator.fakes import DEVICE


class Device:
    """Answers every request with what the test wants, and keeps the requests."""

    app = Klein()

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.status = 200
        self.answer: Any = {}
        self.error: Any = None

    @app.route("/", branch=True)
    def anything(self, request: IRequest) -> bytes:
        body = request.content.read()
        path = request.uri.decode("ascii").removeprefix("https://device.h1")
        self.asked.append((request.method.decode(), path, json.loads(body) if body else None))
        if self.error is not None:
            return answer_error(request, self.error)
        return answer_json(request, self.answer, self.status)


class Driver(SynchronousTestCase):
    def setUp(self) -> None:
        self.device = Device()
        self.made: list[DeviceAddress] = []
        self.driver = NftablesDriver(self.connect)
        self.request = DeviceRequest(DEVICE, Order(3, 4), {"a": 1})

    def connect(self, device: DeviceAddress) -> JsonClient:
        self.made.append(device)
        dial = over_tcp("192.0.2.1", 9444, server_name="device.h1")
        return JsonClient(Clock(), dial, http=StubTreq(self.device.app.resource()))

    def result(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def fails(self, kind: type[Exception], work: Any) -> str:
        return str(self.failureResultOf(Deferred.fromCoroutine(work), kind).value)

    def test_apply_sends_order_and_tree_and_gives_the_digest(self) -> None:
        self.device.answer = {"digest": "d"}
        self.assertEqual(self.result(self.driver.apply(self.request, "s/../1")), "d")
        [(method, path, body)] = self.device.asked
        self.assertEqual((method, path), ("PUT", "/v1/services/s%2F..%2F1"))
        self.assertEqual(body, {"order": [3, 4], "kind": "firewall", "tree": {"a": 1}})

    def test_a_digest_that_is_missing_is_no_success(self) -> None:
        for answer in ({"digest": None}, {}, None, []):
            self.device.answer = answer
            self.fails(Transient, self.driver.apply(self.request, "s"))
            self.fails(Transient, self.driver.configure_routes(self.request))

    def test_I5_stale_stays_stale(self) -> None:
        self.device.error = Stale("order [3, 4] is below [5, 0]", field="order")
        self.fails(Stale, self.driver.apply(self.request, "s"))
        self.fails(Stale, self.driver.remove(self.request, "s"))
        self.fails(Stale, self.driver.clear(self.request))

    def test_a_probe_names_level_and_gives_the_reason(self) -> None:
        self.result(self.driver.probe(DEVICE, "config", 2))
        self.assertEqual(self.device.asked, [("GET", "/v1/health?level=config", None)])
        self.device.status = 503
        for answer, reason in (
            ({"status": "DOWN", "reason": "eth1 has lost 10.0.0.1"}, "eth1 has lost"),
            ({"error": {"code": "Transient", "message": "busy"}}, "busy"),
            ({}, "not well"),
        ):
            self.device.answer = answer
            self.assertIn(reason, self.fails(Transient, self.driver.probe(DEVICE, "config", 2)))

    def test_one_client_is_kept_for_each_device(self) -> None:
        other = DeviceAddress("d2", "192.0.2.2", 9444, "device.h2")
        for device in (DEVICE, other, DEVICE, other):
            self.result(self.driver.read_back(device))
        self.assertEqual(self.made, [DEVICE, other])

    def test_clients_not_used_for_longest_go_first(self) -> None:
        devices = [DeviceAddress(f"d{n}", "192.0.2.1", n, "device.h1") for n in range(MOST_CLIENTS)]
        for device in [*devices, devices[0], DEVICE, devices[0], devices[1]]:
            self.result(self.driver.read_back(device))
        self.assertEqual(self.made[MOST_CLIENTS:], [DEVICE, devices[1]])
