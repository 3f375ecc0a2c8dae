"""A real configurator: twistd, worker processes, mutual TLS."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

from twisted.internet import reactor  # noqa: TID251 -- real processes need the real one
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.task import deferLater

from nfp.model.errors import Invalid, Stale, Transient
from nfp.rest.errors import Forbidden
from tests.functional.configurator.process import (
    MONITOR,
    ConfiguratorCase,
    free_port,
    gone,
    request,
    until,
)
from tests.functional.process.pools import register
from tests.functional.proxy.twistd import Process

WATCH = ("healthmonitor", {"monitor": MONITOR})


class Requests(ConfiguratorCase):
    async def test_bad_input_is_answered_400_and_names_the_field(self) -> None:
        await self.start()
        client = self.client()
        _, device = self.device()
        rules = {"firewall": {"rules": [{"action": "allow", "protocol": "tpc"}]}}
        bad: list[tuple[str, Any, str]] = [
            ("create_nsd_config", {"config": []}, "info"),
            (
                "create_network_service_config",
                request(device, ("firewall", rules), network_service_id="s1"),
                "config[0].resource_data.firewall.rules[0].protocol",
            ),
            ("create_network_service_healthmonitor", request(device, ("monitor", {})), "config[0].resource"),
        ]
        for operation, body, field in bad:
            error = await self.assertFailure(
                ensureDeferred(client.request("POST", f"/v1/nfp/{operation}", body)), Invalid
            )
            self.assertEqual(error.field, field)
        self.assertEqual(await self.poll(client, wait=0), [])

    async def test_only_clients_of_the_right_name_get_in(self) -> None:
        await self.start()
        await self.assertFailure(
            ensureDeferred(self.client("proxy.h1").request("GET", "/healthcheck")), Forbidden
        )
        status, answer = await self.client().request("GET", "/healthcheck")
        self.assertEqual((status, len(answer["workers"])), (200, 2))

    async def test_a_device_that_cannot_be_reached_is_a_transient_refusal(self) -> None:
        await self.start()
        client = self.client()
        _, device = self.device()
        await self.poll(client, wait=0)
        away = type(device)(device.nsd_id, device.address, free_port(), device.server_name)
        interfaces = ("interfaces", {"interfaces": []})
        status, answer = await client.request("POST", "/v1/nfp/create_nsd_config", request(away, interfaces))
        self.assertEqual((status, set(answer)), (202, {"request_id", "boot_id"}))
        [item] = await self.poll(client, wait=20)
        data = item["notification"][0]["data"]
        self.assertEqual((data["outcome"], data["transient"]), ("refused", True))
        self.assertEqual(answer["boot_id"], self.boot)

    async def test_I5_a_lower_order_is_stale(self) -> None:
        await self.start()
        client = self.client()
        _, device = self.device()
        path = "/v1/nfp/create_network_service_healthmonitor"
        await client.request("POST", path, request(device, WATCH, order=[2, 2]))
        await self.assertFailure(
            ensureDeferred(client.request("POST", path, request(device, WATCH, order=[2, 1]))), Stale
        )


class Lives(ConfiguratorCase):
    async def watch(self, client: Any, device: Any) -> None:
        path = "/v1/nfp/create_network_service_healthmonitor"
        await client.request("POST", path, request(device, WATCH))

    async def test_a_killed_worker_is_replaced_and_monitors_go_on(self) -> None:
        await self.start()
        client = self.client()
        # Two devices, so that it does not matter which worker has which.
        devices = [self.device("d1"), self.device("d2")]
        for _, address in devices:
            await self.watch(client, address)
        seen: set[str] = set()
        while seen != {"d1", "d2"}:
            for item in await self.poll(client):
                data = item["notification"][0]["data"]
                if data.get("status") == "UP":
                    seen.add(data["nsd_id"])
        _, health = await client.request("GET", "/healthcheck")
        pids = [worker["pid"] for worker in health["workers"]]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: all(gone(pid) for pid in pids), "the workers are gone")
        for number, (device, _) in enumerate(devices):
            device.well = False
            data = await self.verdict(client, "DOWN", f"d{number + 1}")
            self.assertEqual(data["reason"], "told so")
        _, after = await client.request("GET", "/healthcheck")
        self.assertEqual(after["boot_id"], health["boot_id"])
        self.assertFalse({worker["pid"] for worker in after["workers"]} & set(pids))

    async def test_every_accepted_request_has_its_result_in_order_though_workers_are_killed(self) -> None:
        await self.start()
        client = self.client()
        await self.poll(client, wait=0)
        devices = [self.device(f"d{number}") for number in range(6)]
        for revision in range(8):
            for _, address in devices:
                tree = ("interfaces", {"interfaces": []})
                body = request(address, tree, order=[1, revision])
                await client.request("POST", "/v1/nfp/create_nsd_config", body)
        _, health = await client.request("GET", "/healthcheck")
        self.assertGreater(health["running"], 0)
        for worker in health["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        results: dict[str, list[list[int]]] = {address.nsd_id: [] for _, address in devices}
        while sum(map(len, results.values())) < 6 * 8:
            for item in await self.poll(client, wait=20):
                data = item["notification"][0]["data"]
                self.assertEqual(data["outcome"], "applied", data)
                results[item["info"]["context"]["nsd_id"]].append(data["order"])
        for device, address in devices:
            self.assertEqual(results[address.nsd_id], [[1, revision] for revision in range(8)])
            self.assertEqual(device.orders, sorted(device.orders))
        _, health = await client.request("GET", "/healthcheck")
        self.assertEqual(health["running"], 0)

    async def test_I6_notifications_survive_until_they_are_acknowledged(self) -> None:
        await self.start()
        client = self.client()
        _, device = self.device()
        await self.watch(client, device)
        await self.verdict(client, "UP")
        _, everything = await client.request("GET", "/v1/nfp/notifications")
        last = everything["notifications"][-1]
        self.assertEqual(last["notification"][0]["data"]["status"], "UP")
        _, again = await self.client().request("GET", "/v1/nfp/notifications")
        self.assertEqual(again, everything)
        params = {"boot": everything["boot_id"], "after": everything["next"]}
        _, acknowledged = await client.request("GET", "/v1/nfp/notifications", params=params)
        self.assertEqual(acknowledged["notifications"], [])
        _, nothing = await client.request("GET", "/v1/nfp/notifications")
        self.assertEqual(nothing["notifications"], [])

    async def test_a_restarted_configurator_has_a_new_boot_and_knows_nothing(self) -> None:
        process = await self.start()
        client = self.client()
        _, device = self.device()
        await self.watch(client, device)
        await self.verdict(client, "UP")
        before = self.boot
        self.assertEqual(process.stop(), 0)
        await self.start()
        client = self.client()
        self.assertEqual(await self.poll(client), [])
        self.assertNotEqual(self.boot, before)
        # The old acknowledgement means nothing to the new boot.
        await self.watch(client, device)
        await self.verdict(client, "UP")

    async def test_a_poller_that_hangs_up_is_forgotten(self) -> None:
        await self.start()
        client = self.client()
        await self.poll(client, wait=0)
        waiting = ensureDeferred(self.poll(self.client(), wait=60))

        async def pollers(count: int) -> None:
            while (await client.request("GET", "/healthcheck"))[1]["pollers"] != count:
                await deferLater(reactor, 0.05)

        await pollers(1)
        waiting.addErrback(lambda failure: failure.trap(CancelledError))
        waiting.cancel()
        await pollers(0)

    async def test_a_stopping_configurator_sends_its_pollers_home(self) -> None:
        process = await self.start()
        client = self.client()
        await self.poll(client, wait=0)
        waiting = ensureDeferred(self.poll(client, wait=60))
        _, health = await self.client().request("GET", "/healthcheck")
        pids = [worker["pid"] for worker in health["workers"]]
        process.process.terminate()
        started = reactor.seconds()
        with contextlib.suppress(Transient):  # the connection may end instead: as good
            self.assertEqual(await waiting, [])
        await until(lambda: process.process.poll() is not None, "the configurator ends")
        self.assertLess(reactor.seconds() - started, 20)
        self.assertEqual(process.process.returncode, 0)
        await until(lambda: all(gone(pid) for pid in pids), "the workers end")


MODULE = """
from zope.interface import implementer

from nfp.process.interfaces import IModule, RpcHandler

SCHEMA = {"type": "object", "required": ["wish"], "properties": {"wish": {"type": "string"}}}


@implementer(IModule)
class Wishes:
    name = "wishes"

    def __init__(self, settings):
        self.tenant = settings.tenant

    def rpc_handlers(self):
        return {
            "make_wish": RpcHandler(schema=SCHEMA, event="wish", key=lambda args: "wish:" + args["wish"]),
            "whose_wish": RpcHandler(schema={"type": "object"}, answer=lambda args: {"tenant": self.tenant}),
        }

    def event_handlers(self):
        return {"wish": self.grant}

    def key_kinds(self):
        return {}

    async def start(self, context):
        pass

    async def stop(self):
        pass

    async def grant(self, event):
        data = {"granted": event.payload["args"]["wish"]}
        return {
            "kind": "nsd_config_notification",
            "info": {},
            "notification": [{"resource": "wish", "data": data}],
        }
"""


class ThirdParties(ConfiguratorCase):
    async def test_a_package_adds_an_operation_and_an_event_by_its_entry_point(self) -> None:
        (self.directory / "wishes.py").write_text(MODULE)
        register(self.directory, "[nfp.configurator_modules]\nwishes = wishes:Wishes\n", "wishes")
        await self.start()
        client = self.client()
        error = await self.assertFailure(
            ensureDeferred(client.request("POST", "/v1/nfp/make_wish", {"wish": 7})), Invalid
        )
        self.assertEqual(error.field, "wish")
        await self.poll(client, wait=0)
        status, _ = await client.request("POST", "/v1/nfp/make_wish", {"wish": "peace"})
        self.assertEqual(status, 202)
        [item] = await self.poll(client, wait=20)
        self.assertEqual(item["notification"][0]["data"], {"granted": "peace"})
        answer = await client.request("POST", "/v1/nfp/whose_wish", {})
        self.assertEqual(answer, (200, {"tenant": "service"}))


class Configuration(ConfiguratorCase):
    async def test_two_modules_with_one_operation_stop_the_start(self) -> None:
        (self.directory / "thief.py").write_text(
            MODULE.replace("make_wish", "create_nsd_config").replace('"wishes"', '"thief"')
        )
        register(self.directory, "[nfp.configurator_modules]\nthief = thief:Wishes\n", "thief")
        process = Process("nfp-configurator", self.config, self.directory)
        self.addCleanup(process.kill)
        await until(lambda: process.process.poll() is not None, "the configurator gives up")
        self.assertNotEqual(process.process.returncode, 0)
        log = process.log_path.read_text()
        self.assertIn("'create_nsd_config' is claimed by", log)

    async def test_everything_wrong_is_listed_before_anything_starts(self) -> None:
        self.write(listen="everywhere", ca=self.directory / "none.pem")
        process = Process("nfp-configurator", self.config, self.directory)
        self.addCleanup(process.kill)
        await until(lambda: process.process.poll() is not None, "the configurator gives up")
        log = process.log_path.read_text()
        self.assertNotEqual(process.process.returncode, 0)
        self.assertIn("[configurator] listen", log)
        self.assertIn("none.pem", log)
