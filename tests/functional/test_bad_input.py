"""Bad input, as call and as cast: an answer that names the field, and nothing made of it."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import amqp  # type: ignore[import-untyped]
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nfp.manager.store.tables import EarlyMessage, NetworkService, NetworkServiceDevice
from nfp.rpc.url import BrokerURL
from tests.functional.chain import Chain, rules
from tests.functional.embedded_stack import until
from tests.functional.node_driver import Refused
from tests.functional.story import Story

Request = dict[str, Any]


def _rule(**wrong: object) -> Mapping[str, object]:
    rule = {"protocol": "tcp", "destination_port": "80", "action": "allow", **wrong}
    return {"service_config": {"firewall": {"rules": [rule]}}}


def _without(name: str) -> Callable[[Request], Request]:
    def change(request: Request) -> Request:
        return {key: value for key, value in request.items() if key != name}

    return change


def _with(**wrong: object) -> Callable[[Request], Request]:
    def change(request: Request) -> Request:
        return {**request, **wrong}

    return change


def _within(*path: str | int, value: object) -> Callable[[Request], Request]:
    def change(request: Request) -> Request:
        changed = copy.deepcopy(request)
        at: Any = changed
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value
        return changed

    return change


PROFILE = {"service_type": "FIREWALL", "service_flavor": "vyos"}

WRONG: Mapping[str, tuple[Callable[[Request], Request], str]] = {
    "config is not JSON": (_with(service_config="allow everything"), "service_config"),
    "config is JSON, but no object": (_with(service_config="[1, 2]"), "service_config"),
    "config is a number": (_with(service_config=7), "network_service.service_config"),
    "config is missing": (_without("service_config"), "network_service.service_config"),
    "config of another kind": (_with(service_config={"router": {}}), "service_config.router"),
    "unknown service type": (
        _with(service_profile={"service_type": "TOASTER"}),
        "service_profile.service_type",
    ),
    "service type is a list": (
        _with(service_profile={"service_type": ["FIREWALL"]}),
        "network_service.service_profile.service_type",
    ),
    "profile is missing": (_without("service_profile"), "network_service.service_profile"),
    "insertion mode unknown": (
        _with(service_profile={**PROFILE, "insertion_mode": "TAP"}),
        "service_profile.insertion_mode",
    ),
    "tenant is missing": (_without("tenant_id"), "network_service.tenant_id"),
    "tenant is empty": (_with(tenant_id=""), "network_service.tenant_id"),
    "tenant is null": (_with(tenant_id=None), "network_service.tenant_id"),
    "node is missing": (_without("service_id"), "network_service.service_id"),
    "node is too long": (_with(service_id="x" * 37), "network_service.service_id"),
    "rule's source is no CIDR": (
        _with(**_rule(source_ip_address="10.0.0.0/33")),
        "rules[0].source_ip_address",
    ),
    "rule's destination is words": (
        _with(**_rule(destination_ip_address="the web")),
        "rules[0].destination_ip_address",
    ),
    "rule's port is beyond": (_with(**_rule(destination_port="65536")), "rules[0].destination_port"),
    "rule's port is a name": (_with(**_rule(destination_port="http")), "rules[0].destination_port"),
    "rule's ports run backwards": (_with(**_rule(source_port="90:80")), "rules[0].source_port"),
    "rule's protocol is unknown": (_with(**_rule(protocol="carrier pigeon")), "rules[0].protocol"),
    "rule's protocol is negative": (_with(**_rule(protocol=-1)), "rules[0].protocol"),
    "rule's action is unknown": (_with(**_rule(action="hope")), "rules[0].action"),
    "rule with a misspelt attribute": (_with(**_rule(destination_prot="80")), "rules[0].destination_prot"),
    "rule would break out of its line": (_with(**_rule(name="x\n}; flush ruleset")), "rules[0].name"),
    "rules are no list": (
        _with(service_config={"firewall": {"rules": "all"}}),
        "service_config.firewall.rules",
    ),
    "provider is a word": (_with(provider="left"), "network_service.provider"),
    "provider has no port": (_within("provider", "port", value=[]), "provider.port"),
    "consumer is null": (_with(consumer=None), "consumer.port"),
    "port without an id": (
        _within("provider", "port", 0, value={"network_id": "n"}),
        "network_service.provider.port[0].id",
    ),
    "port's MAC is none": (
        _within("provider", "port", 0, "mac_address", value="zz:zz"),
        "network_service.provider.port[0].mac_address",
    ),
    "port's address is none": (
        _within("consumer", "port", 0, "fixed_ips", 0, "ip_address", value="10.0.1.256"),
        "consumer.port[0].fixed_ips[0].ip_address",
    ),
    "subnet's CIDR is none": (_within("provider", "subnet", "cidr", value="10/x"), "provider.subnet.cidr"),
    "subnet's gateway is none": (
        _within("consumer", "subnet", "gateway_ip", value="up there"),
        "consumer.subnet.gateway_ip",
    ),
    "port model unknown": (
        _within("provider", "port_model", value="lego"),
        "network_service.provider.port_model",
    ),
}
"""A change to a good request, and the field that the answer must name."""


def _places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a request."""
    if path:
        yield path
    pairs: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in pairs:
        yield from _places(inner, (*path, key))


PLACES = sorted(_places(Chain().request(80)), key=str)
TRASH = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=12),
        st.sampled_from(["", "0" * 5000, "\0", "\ud7ff", "255.255.255.255/0", "::/0", "' or 1=1 --", 2**70]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=4,
)


class BadInputTests(Story):
    def test_a_call_is_refused_naming_the_field_and_stores_nothing(self) -> None:
        before = len(self.stack.rows(NetworkService))
        for title, (change, field) in WRONG.items():
            refusal = self.refused_create(change(Chain().request(80)))
            self.assertEqual(refusal.kind, "Invalid", title)
            self.assertIn(field, refusal.text, title)
        self.assertEqual(len(self.stack.rows(NetworkService)), before)
        self.assertEqual(self.stack.device_namespaces(), [])

    def refused_create(self, request: Request) -> Refused:
        refusal: Refused = self.assertRaises(
            Refused, self.node_driver.call, "create_network_service", network_service=request
        )
        return refusal

    def test_a_cast_leaves_a_service_in_error_with_the_reason_and_no_device(self) -> None:
        chains = {title: self.chain() for title in WRONG}
        for title, (change, _) in WRONG.items():
            request = change(chains[title].request(80))
            self.node_driver.cast("create_network_service", network_service=request)
        for title, (_, field) in WRONG.items():
            shown = self.stack.settle(chains[title].id, "ERROR")
            self.assertIn(field, shown["status_description"], title)
            self.assertEqual(shown["network_service_instances"], [], title)
        self.assertEqual(self.stack.rows(NetworkServiceDevice), [])
        self.assertEqual(self.stack.device_namespaces(), [])

    def test_a_refused_update_changes_nothing_and_says_why(self) -> None:
        chain = self.chain()
        chain.attach(self.stack.state)
        self.create(chain, 80)
        bad = {"service_config": rules(80, 70000)}
        refusal = self.assertRaises(
            Refused,
            self.node_driver.call,
            "update_network_service",
            network_service_id=chain.id,
            network_service=bad,
        )
        self.assertEqual((refusal.kind, "rules[1].destination_port" in refusal.text), ("Invalid", True))
        for wrong, field in ((bad, "rules[1].destination_port"), ({"service_config": 7}, "service_config")):
            self.node_driver.cast(
                "update_network_service", network_service_id=chain.id, network_service=wrong
            )
            until(lambda field=field: field in self.described(chain), "the refusal is shown")
            self.assertEqual(self.stack.settle(chain.id, "ACTIVE")["id"], chain.id)
        self.assertIn("update refused", self.described(chain))
        self.assertEqual(chain.open_ports(expected=(80,)), [80])
        good = {"service_config": rules(443)}
        self.node_driver.call("update_network_service", network_service_id=chain.id, network_service=good)
        self.assertEqual(self.stack.settle(chain.id, "ACTIVE")["status_description"], "")
        self.assertEqual(chain.open_ports(expected=(443,)), [443])

    def described(self, chain: Chain) -> str:
        shown = self.stack.show(chain.id)
        assert shown is not None
        return shown["status_description"] or ""

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(place=st.sampled_from(PLACES), trash=TRASH)
    def test_any_trash_anywhere_is_taken_or_refused_in_order(self, place: Any, trash: Any) -> None:
        chain = Chain()
        request = _within(*place, value=trash)(chain.request(80))
        try:
            made = self.node_driver.call("create_network_service", network_service=request)
        except Refused as refusal:
            self.assertEqual(refusal.kind, "Invalid", (place, trash, refusal.text))
            field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)[1:]
            self.assertTrue(_names(refusal.text, field), (place, trash, refusal.text))
            return
        self.node_driver.call("delete_network_service", network_service_id=made["id"])
        self.stack.gone(made["id"])

    def test_arguments_of_wrong_types_are_refused(self) -> None:
        for method, args in (
            ("create_network_service", {}),
            ("create_network_service", {"network_service": None}),
            ("create_network_service", {"network_service": []}),
            ("create_network_service", {"network_service": "all of it"}),
            ("create_network_service", {"network_service": self.chain().request(80), "extra": 1}),
            ("update_network_service", {"network_service_id": 7, "network_service": {"name": "n"}}),
            ("update_network_service", {"network_service_id": Chain().id}),
            ("delete_network_service", {"network_service_id": None}),
            ("delete_network_service", {"network_service_id": ["a"]}),
            ("get_network_service", {"network_service_id": {"a": 1}}),
            ("get_network_service", {}),
            ("get_network_services", {"filters": []}),
            ("get_network_services", {"limit": "many"}),
            ("get_plumbing_info", {"request_info": 3}),
            ("report_agent", {"agent": {"host": 5}}),
        ):
            refusal = self.assertRaises(Refused, self.node_driver.call, method, **args)
            self.assertIn(refusal.kind, ("Invalid", "TypeError"), (method, args, refusal.text))
            self.node_driver.cast(method, **args)
        self.works()

    def works(self) -> None:
        """A good request still goes all the way."""
        self.create(self.chain(), 80)


class IdentityTests(Story):
    def test_the_same_chain_node_twice_is_the_same_service(self) -> None:
        chain = self.chain()
        first = self.node_driver.call("create_network_service", network_service=chain.request(80))
        again = self.node_driver.call("create_network_service", network_service=chain.request(80))
        nameless = {name: value for name, value in chain.request(80).items() if name != "id"}
        unnamed = self.node_driver.call("create_network_service", network_service=nameless)
        other = self.node_driver.call(
            "create_network_service", network_service=chain.request(80, id=Chain().id)
        )
        self.assertEqual({made["id"] for made in (first, again, unnamed, other)}, {chain.id})
        for _ in range(3):
            self.node_driver.cast("create_network_service", network_service=chain.request(80))
        self.stack.settle(chain.id, "ACTIVE")
        self.works_once(chain)

    def works_once(self, chain: Chain) -> None:
        self.assertEqual([row["id"] for row in self.stack.rows(NetworkService)], [chain.id])
        self.assertEqual(len(self.stack.device_namespaces()), 1)

    def test_a_create_without_an_id_gets_one(self) -> None:
        chain = Chain()
        nameless = {name: value for name, value in chain.request(80).items() if name != "id"}
        made = self.node_driver.call("create_network_service", network_service=nameless)
        chain.id = str(uuid.UUID(made["id"]))
        self.addCleanup(self.remove, chain)
        self.stack.settle(chain.id, "ACTIVE")
        self.works_once(chain)

    def test_unknown_ids_are_answered_by_what_is_asked_of_them(self) -> None:
        nobody = str(uuid.uuid4())
        self.assertIsNone(self.stack.show(nobody))
        update = {"network_service_id": nobody, "network_service": {"name": "n"}}
        refusal = self.assertRaises(Refused, self.node_driver.call, "update_network_service", **update)
        self.assertEqual(refusal.kind, "NotFound")
        self.assertIsNone(self.node_driver.call("delete_network_service", network_service_id=nobody))
        self.assertIsNone(self.node_driver.call("delete_network_service", network_service_id=nobody))
        self.assertEqual(self.stack.rows(NetworkService), [])

    def test_what_was_deleted_before_it_was_created_is_not_created(self) -> None:
        chain = self.chain()
        self.node_driver.cast("delete_network_service", network_service_id=chain.id)
        self.node_driver.cast("create_network_service", network_service=chain.request(80))
        refusal = self.assertRaises(
            Refused, self.node_driver.call, "create_network_service", network_service=chain.request(80)
        )
        self.assertEqual(refusal.kind, "Conflict")
        self.assertEqual(self.stack.rows(NetworkService), [])

    def test_an_update_that_comes_before_its_create_is_applied_to_it(self) -> None:
        chain = self.chain()
        chain.attach(self.stack.state)
        wanted = {"service_config": rules(443), "name": "late"}
        self.node_driver.cast("update_network_service", network_service_id=chain.id, network_service=wanted)
        # A create as GBP would have sent it first: its context bears an earlier time.
        until(lambda: self.early(chain), "the update is kept")
        self.send_earlier(chain)
        shown = self.stack.settle(chain.id, "ACTIVE")
        self.assertEqual(shown["name"], "late")
        self.assertEqual(chain.open_ports(expected=(443,)), [443])

    def early(self, chain: Chain) -> bool:
        return any(row["object_id"] == chain.id for row in self.stack.rows(EarlyMessage))

    def send_earlier(self, chain: Chain) -> None:
        message = {
            "method": "create_network_service",
            "args": {"network_service": chain.request(80)},
            "version": "1.0",
            "_unique_id": uuid.uuid4().hex,
            "_context_timestamp": "2020-01-01 00:00:00.000000",
        }
        with Wire(self.stack.state.transport_url.read_text()) as wire:
            wire.send(envelope(message))


def envelope(message: object) -> str:
    """A message as oslo.messaging wraps it."""
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)})


class Wire:
    """Another client on the manager's queue, which writes what it likes."""

    def __init__(self, url: str) -> None:
        broker = BrokerURL.parse(url.strip())
        self._connection = amqp.Connection(
            host=":".join(map(str, broker.hosts[0])),
            userid=broker.username,
            password=broker.password.reveal(),
            virtual_host=broker.vhost,
        )

    def __enter__(self) -> Wire:
        self._connection.connect()
        self._channel = self._connection.channel()
        self.replies = self._channel.queue_declare(exclusive=True).queue
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def send(self, body: str | bytes, **properties: object) -> None:
        """Publish a body to the manager's topic."""
        message = amqp.Message(body, content_type="application/json", delivery_mode=2, **properties)
        self._channel.basic_publish(message, exchange="neutron", routing_key="nfp-service-manager")

    def answer(self) -> dict[str, Any]:
        """The next reply."""

        def got() -> Any:
            return self._channel.basic_get(self.replies, no_ack=True)

        reply = until(got, "a reply", 10)
        inner: dict[str, Any] = json.loads(json.loads(reply.body)["oslo.message"])
        return inner


class WireTests(Story):
    """What is no proper request at all."""

    def test_an_unknown_method_or_version_is_refused_as_oslo_does(self) -> None:
        for method, options, kind in (
            ("make_coffee", {}, "NoSuchMethod"),
            ("get_network_service", {"version": "2.0"}, "UnsupportedVersion"),
            ("get_network_service", {"version": "1.7"}, "UnsupportedVersion"),
            ("get_network_service", {"namespace": "kitchen"}, "UnsupportedVersion"),
            ("__init__", {}, "NoSuchMethod"),
        ):
            refusal = self.assertRaises(
                Refused, self.node_driver.call, method, options=options, network_service_id="x"
            )
            self.assertEqual(refusal.kind, kind, (method, options))
            self.node_driver.cast(method, options=options, network_service_id="x")
        self.create(self.chain(), 80)

    def test_bodies_that_are_no_requests_neither_stop_nor_block_the_manager(self) -> None:
        with Wire(self.stack.state.transport_url.read_text()) as wire:
            for body in (
                b"",
                b"\xff\xfe\x00",
                "not JSON",
                "[]",
                "null",
                '{"oslo.version": "2.0"}',
                '{"oslo.version": "2.0", "oslo.message": 7}',
                '{"oslo.version": "9.0", "oslo.message": "{}"}',
                '{"oslo.version": "2.0", "oslo.message": "[1]"}',
                '{"oslo.version": "2.0", "oslo.message": "' + "[" * 5000 + '"}',
                envelope({}),
                envelope({"method": 5, "args": {}}),
                envelope({"method": "get_network_service", "args": [1]}),
                envelope(
                    {"method": "get_network_service", "args": {"network_service_id": "x"}, "version": 1}
                ),
            ):
                wire.send(body)
            wire.send(b"zipped?", content_encoding="gzip", application_headers={"x": 1})
            waiting = {"_msg_id": "m1", "_reply_q": wire.replies}
            wire.send(envelope({"args": {}, **waiting}))
            answer = wire.answer()
            self.assertEqual(answer["_msg_id"], "m1")
            self.assertTrue(answer["failure"])
            wire.send(envelope({"method": "make_coffee", "args": {}, **waiting, "_msg_id": "m2"}))
            self.assertEqual(json.loads(wire.answer()["failure"])["class"], "NoSuchMethod")
            # An answer that nobody waits for any more is no reason to stop either.
            wire.send(
                envelope(
                    {
                        "method": "get_network_services",
                        "args": {},
                        "_msg_id": "m3",
                        "_reply_q": f"reply_{uuid.uuid4().hex}",
                    }
                )
            )
        self.create(self.chain(), 80)
        self.assertEqual(self.stack.messages(), [])


def _names(text: str, field: str) -> bool:
    """Whether an error names a field, or one that it is part of, or a part of it."""
    named = text.split(":", 1)[0].removeprefix("network_service.").removeprefix("network_service")
    return field.startswith(named) or named.startswith(field)
