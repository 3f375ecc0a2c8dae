"""Tests for the embedded directory: what is told is found, repeats change nothing."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nfp.manager.directory import DIRECTORIES
from nfp.manager.directory.register import _PORTS, _upsert, remember
from nfp.manager.interfaces import DirectoryPort, DirectorySubnet, INetworkDirectory
from nfp.manager.store.base import Base
from nfp.manager.store.engine import Inline, Store, make_engine
from nfp.model.errors import NotFound, Transient

PORT: dict[str, Any] = {
    "id": "p1",
    "network_id": "n1",
    "mac_address": "FA:16:3E:00:00:01",
    "fixed_ips": [{"subnet_id": "s1", "ip_address": "10.0.0.1"}, {"ip_address": "fd00::1"}],
    "device_owner": "ignored",
}
SUBNET: dict[str, Any] = {"id": "s1", "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.254"}


class EmbeddedDirectoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        engine = make_engine("sqlite://")
        self.addCleanup(engine.dispose)
        Base.metadata.create_all(engine)
        self.store = Store(engine, Inline(), Clock())
        self.directory: Any = DIRECTORIES["embedded"](self.store)

    def tell(self, ports: list[dict[str, Any]], subnets: list[dict[str, Any]]) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.store.write(remember, ports, subnets)))

    def port(self, identity: str) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.directory.port(identity)))

    def subnet(self, identity: str) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.directory.subnet(identity)))

    def test_it_is_a_network_directory(self) -> None:
        verifyObject(INetworkDirectory, self.directory)

    def test_a_port_and_its_subnet_of_a_request_are_found(self) -> None:
        self.tell([PORT], [SUBNET])
        self.assertEqual(
            self.port("p1"), DirectoryPort("p1", "n1", "fa:16:3e:00:00:01", ("10.0.0.1", "fd00::1"), "s1")
        )
        # The request's subnet does not name its network; its port does.
        self.assertEqual(self.subnet("s1"), DirectorySubnet("s1", "n1", "10.0.0.0/24", "10.0.0.254"))

    def test_telling_again_changes_nothing(self) -> None:
        self.tell([PORT], [SUBNET])
        writes: list[str] = []
        sa.event.listen(
            self.store.engine,
            "before_cursor_execute",
            lambda c, cursor, statement, *rest: writes.append(statement),
        )
        self.tell([PORT, PORT], [SUBNET])
        self.assertEqual([text for text in writes if "INSERT" in text], [])

    def test_news_replace_what_was_known_and_silence_keeps_it(self) -> None:
        self.tell([PORT], [SUBNET])
        self.tell([{"id": "p1", "network_id": "n1"}], [{"id": "s1", "cidr": "10.0.0.0/24"}])
        self.assertEqual(self.port("p1").addresses, ("10.0.0.1", "fd00::1"))
        self.assertEqual(self.subnet("s1").gateway_ip, "10.0.0.254")
        self.tell(
            [{"id": "p1", "network_id": "n1", "fixed_ips": [{"ip_address": "10.0.0.2"}]}],
            [{"id": "s1", "cidr": "10.0.0.0/24", "gateway_ip": None}],
        )
        self.assertEqual(self.port("p1").addresses, ("10.0.0.2",))
        self.assertIsNone(self.subnet("s1").gateway_ip)

    def test_what_nobody_told_is_not_found(self) -> None:
        for question in (self.directory.port, self.directory.subnet, self.directory.group_members):
            failure = self.failureResultOf(Deferred.fromCoroutine(question("x")), NotFound)
            self.assertIn("x", str(failure.value))

    def test_a_store_that_is_away_is_transient(self) -> None:
        away = Store(make_engine("sqlite:////nowhere/at/all.db"), Inline(), Clock())
        directory: Any = DIRECTORIES["embedded"](away)
        self.failureResultOf(Deferred.fromCoroutine(directory.port("x")), Transient)

    def test_mariadb_gets_its_own_upsert(self) -> None:
        text = str(_upsert("mariadb", _PORTS).compile(dialect=mysql.dialect()))
        self.assertIn("ON DUPLICATE KEY UPDATE", text)
