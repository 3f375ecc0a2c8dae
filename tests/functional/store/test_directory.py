"""The directory's tables on real databases, written as ``nfp lab`` and the manager do."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nfp.manager.directory.embedded import EmbeddedDirectory
from nfp.manager.directory.register import forget, forget_port, register_port, register_subnet, remember
from nfp.manager.interfaces import DirectoryPort, DirectorySubnet
from nfp.manager.store import migrate
from nfp.manager.store.engine import Inline, Store
from nfp.model.errors import NotFound, Unavailable
from tests.functional.store.databases import OnPostgresql, OnSqlite

PORT = DirectoryPort("lab-web", "net", "02:00:00:00:00:01", ("10.0.0.9",), "sub")
SUBNET = DirectorySubnet("sub", "net", "10.0.0.0/24", "10.0.0.1")


class SqliteDirectory(OnSqlite):
    def setUp(self) -> None:
        self.url = self.make_url()
        migrate.upgrade(self.url)
        self.store = Store(self.make_engine(self.url), Inline(), Clock())
        self.directory = EmbeddedDirectory(self.store)

    def ask(self, question: Any, identity: str) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(question(identity)))

    def test_what_is_registered_is_found_and_what_is_forgotten_is_not(self) -> None:
        for _ in range(2):
            register_subnet(self.url, SUBNET)
            register_port(self.url, PORT)
        self.assertEqual(self.ask(self.directory.port, "lab-web"), PORT)
        self.assertEqual(self.ask(self.directory.subnet, "sub"), SUBNET)
        for _ in range(2):
            forget_port(self.url, "lab-web")
        self.failureResultOf(Deferred.fromCoroutine(self.directory.port("lab-web")), NotFound)

    def test_a_request_changes_what_was_registered(self) -> None:
        register_port(self.url, PORT)
        told = {"id": "lab-web", "network_id": "net", "fixed_ips": [{"ip_address": "10.0.0.10"}]}
        self.successResultOf(Deferred.fromCoroutine(self.store.write(remember, [told], [])))
        found = self.ask(self.directory.port, "lab-web")
        self.assertEqual((found.addresses, found.mac_address), (("10.0.0.10",), PORT.mac_address))

    def test_what_a_removed_service_named_is_forgotten_but_not_what_was_told_by_hand(self) -> None:
        register_port(self.url, PORT)
        ports = [
            {"id": name, "network_id": "net", "fixed_ips": [{"subnet_id": sub, "ip_address": "10.0.0.10"}]}
            for name, sub in (("lab-web", "sub"), ("seen", "seen-sub"))
        ]
        subnets = [{"id": "seen-sub", "cidr": "10.0.0.0/24"}]
        for work in (remember, forget):
            self.successResultOf(Deferred.fromCoroutine(self.store.write(work, ports, subnets)))
        self.ask(self.directory.port, "lab-web")
        for question, name in ((self.directory.port, "seen"), (self.directory.subnet, "seen-sub")):
            self.failureResultOf(Deferred.fromCoroutine(question(name)), NotFound)

    def test_a_database_that_is_away_says_so(self) -> None:
        with self.assertRaises(Unavailable):
            register_port("postgresql://nfp:topsecret@127.0.0.1:1/nfp", PORT)


class PostgresqlDirectory(OnPostgresql, SqliteDirectory):
    """The same on PostgreSQL."""
