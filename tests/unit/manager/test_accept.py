"""What accepting a request leaves in the store."""

from __future__ import annotations

import itertools
from typing import Any

import sqlalchemy as sa
from twisted.trial.unittest import SynchronousTestCase

from nfp.manager.store import accept, history, queries
from nfp.manager.store.accept import Accepted
from nfp.manager.store.gathered import gathering
from nfp.manager.store.tables import (
    AcceptedMessage,
    Base,
    DirectoryPortRow,
    EarlyMessage,
    NetworkService,
    Tombstone,
)
from nfp.model.errors import Conflict, Invalid, NotFound
from tests.unit.manager.requests import (
    SERVICE_ID,
    engine_in_memory,
    firewall,
    message,
    network_service,
)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = engine_in_memory()
        self.addCleanup(self.engine.dispose)

    def do(self, function: Any, *args: Any) -> Any:
        with self.engine.begin() as connection:
            return function(connection, *args)

    def rows(self, table: Any = NetworkService) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(table.__table__)).mappings()]


class CreateTests(Case):
    def test_a_create_is_pending_and_unsettled(self) -> None:
        accepted = self.do(accept.create, network_service(), message(1))
        [row] = self.rows()
        self.assertEqual((accepted.service_id, "PENDING_CREATE"), (row["id"], row["status"]))
        self.assertGreater(row["revision"], row["converged_revision"])
        self.assertEqual(("FIREWALL", "nftables"), (row["service_type"], row["service_vendor"]))

    def test_the_same_message_again_makes_no_second_service(self) -> None:
        first = self.do(accept.create, network_service(), message(1))
        again = self.do(accept.create, network_service(), message(1))
        self.assertEqual(first.service_id, again.service_id)
        self.assertEqual(1, len(self.rows()))

    def test_the_same_chain_node_again_is_the_same_service(self) -> None:
        first = self.do(accept.create, network_service(), message(1))
        again = self.do(accept.create, network_service(), message(2))
        self.assertEqual(first.service_id, again.service_id)
        self.assertEqual(1, len(self.rows()))

    def test_a_create_during_its_delete_is_a_new_service(self) -> None:
        first = self.do(accept.create, network_service(), message(1))
        self.do(accept.delete, first.service_id, message(2))
        second = self.do(accept.create, network_service(), message(3))
        self.assertNotEqual(first.service_id, second.service_id)
        self.assertEqual(2, len(self.rows()))

    def test_a_deleted_id_does_not_come_back(self) -> None:
        self.do(accept.delete, SERVICE_ID, message(2))
        late = self.do(accept.create, network_service(id=SERVICE_ID), message(1))
        self.assertIsInstance(late.error, Conflict)
        self.assertEqual([], self.rows())

    def test_ports_in_the_request_are_in_the_directory(self) -> None:
        self.do(accept.create, network_service(), message(1))
        self.assertEqual(
            {"port-provider", "port-consumer"}, {row["id"] for row in self.rows(DirectoryPortRow)}
        )

    def test_an_invalid_call_stores_nothing_and_names_the_field(self) -> None:
        bad = network_service(
            service_config={"firewall": {"rules": [{"protocol": "tcpp", "action": "allow"}]}}
        )
        accepted = self.do(accept.create, bad, message(1))
        self.assertIsInstance(accepted.error, Invalid)
        self.assertEqual("service_config.firewall.rules[0].protocol", accepted.error.field)
        self.assertEqual([], self.rows())

    def test_an_invalid_cast_is_a_service_in_error_with_the_reason(self) -> None:
        bad = network_service(service_config="{")
        self.do(accept.create, bad, message(1, is_call=False))
        [row] = self.rows()
        self.assertEqual("ERROR", row["status"])
        self.assertIn("service_config", row["status_description"])

    def test_a_malformed_cast_is_kept_as_an_error_whatever_its_shape(self) -> None:
        for number, value in enumerate(
            ({}, {"id": 7, "tenant_id": [], "service_id": "x" * 99}, {"id": "no uuid"})
        ):
            self.do(accept.refuse_create, value, "tenant_id: is required", message(number, is_call=False))
        self.assertEqual(["ERROR"] * 3, [row["status"] for row in self.rows()])


class UpdateTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.do(accept.create, network_service(id=SERVICE_ID), message(1))

    def test_an_update_is_a_new_fact(self) -> None:
        before = self.rows()[0]["revision"]
        accepted = self.do(accept.update, SERVICE_ID, {"service_config": firewall(443)}, message(2))
        self.assertTrue(accepted.wake)
        self.assertEqual(before + 1, self.rows()[0]["revision"])

    def test_an_overtaken_update_changes_nothing_and_is_recorded(self) -> None:
        self.do(accept.update, SERVICE_ID, {"service_config": firewall(443)}, message(5))
        accepted = self.do(accept.update, SERVICE_ID, {"service_config": firewall(22)}, message(3))
        self.assertFalse(accepted.wake)
        self.assertIn("443", self.rows()[0]["service_config"])
        self.assertIn("overtaken", [entry["event"] for entry in self.do(history.of, SERVICE_ID)])

    def test_an_invalid_update_leaves_wanted_state_and_status_and_says_why(self) -> None:
        before = self.rows()[0]
        accepted = self.do(accept.update, SERVICE_ID, {"service_config": "nonsense"}, message(2))
        after = self.rows()[0]
        self.assertEqual("service_config", accepted.error.field)
        self.assertEqual(
            [before[name] for name in ("service_config", "wanted", "status")],
            [after[name] for name in ("service_config", "wanted", "status")],
        )
        self.assertIn("update refused", after["notice"])

    def test_a_call_for_an_unknown_id_is_not_found(self) -> None:
        other = SERVICE_ID.replace("1", "9")
        self.assertIsInstance(self.do(accept.update, other, {"name": "x"}, message(2)).error, NotFound)

    def test_a_new_fact_revives_a_failed_service(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(NetworkService).values(failure="no room", attempts={"Bind": {}}))
        self.do(accept.update, SERVICE_ID, {"service_config": firewall(443)}, message(2))
        self.assertEqual((None, {}), (self.rows()[0]["failure"], self.rows()[0]["attempts"]))


class DeleteTests(Case):
    def test_deleting_what_nobody_knows_succeeds_and_leaves_a_tombstone(self) -> None:
        self.assertEqual(Accepted(None), self.do(accept.delete, SERVICE_ID, message(1)))
        self.assertEqual([SERVICE_ID], [row["id"] for row in self.rows(Tombstone)])

    def test_a_deleted_service_is_wanted_absent_and_its_chain_node_free(self) -> None:
        self.do(accept.create, network_service(id=SERVICE_ID), message(1))
        self.do(accept.delete, SERVICE_ID, message(2))
        [row] = self.rows()
        self.assertEqual(
            (True, None, "PENDING_DELETE"), (row["wanted_absent"], row["live_key"], row["status"])
        )


class OrderTests(Case):
    """I7: registers commute."""

    MESSAGES = {
        1: (accept.create, network_service(id=SERVICE_ID)),
        2: (accept.update, {"service_config": firewall(443)}),
        3: (accept.update, {"service_config": firewall(22), "name": "last"}),
    }

    def _send(self, number: int) -> None:
        function, value = self.MESSAGES[number]
        args = (value,) if function is accept.create else (SERVICE_ID, value)
        self.do(function, *args, message(number, is_call=False))

    def _forget(self) -> None:
        with self.engine.begin() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(sa.delete(table))

    def _end(self, order: tuple[int, ...]) -> Any:
        self._forget()
        for number in order:
            self._send(number)
        return [(row["service_config"], row["name"], row["wanted"]) for row in self.rows()]

    def test_I7_every_order_with_every_duplicate_ends_in_the_same_state(self) -> None:
        right = self._end((1, 2, 3))
        for order in itertools.permutations((1, 2, 3)):
            self.assertEqual(right, self._end(order), order)
            for twice in (1, 2, 3):
                self.assertEqual(right, self._end((*order, twice)), order)

    def test_I7_an_invalid_update_that_overtook_its_create_is_refused_alone(self) -> None:
        self.do(accept.update, SERVICE_ID, {"service_config": "nonsense"}, message(2, is_call=False))
        self._send(1)
        [row] = self.rows()
        self.assertEqual("PENDING_CREATE", row["status"])
        self.assertIn("80", row["service_config"])
        self.assertIn("update refused", row["notice"])

    def test_a_refused_create_that_an_update_puts_right_has_its_chain_nodes_key(self) -> None:
        bad = network_service(id=SERVICE_ID, service_config="{")
        self.do(accept.create, bad, message(1, is_call=False))
        self.do(accept.update, SERVICE_ID, {"service_config": firewall(80)}, message(2))
        again = self.do(accept.create, network_service(), message(3))
        self.assertEqual(SERVICE_ID, again.service_id)

    def test_I7_a_delete_wins_wherever_it_comes(self) -> None:
        for order in itertools.permutations((1, 2, 3, 4)):
            self._forget()
            for number in order:
                if number == 4:
                    self.do(accept.delete, SERVICE_ID, message(4, is_call=False))
                else:
                    self._send(number)
            self.assertEqual([], [row["id"] for row in self.rows() if not row["wanted_absent"]], order)
            self.assertEqual([], self.rows(EarlyMessage), order)


class QueryTests(Case):
    def setUp(self) -> None:
        super().setUp()
        for number in range(5):
            service = network_service(
                name=f"n{4 - number}", service_id=f"node-{number}", tenant_id=f"t{number % 2}"
            )
            self.do(accept.create, service, message(number))

    def names(self, **query: Any) -> list[str]:
        wanted = {"filters": None, "fields": ["name"], "sort": None, "limit": None, "marker": None, **query}
        return [row["name"] for row in self.do(queries.page, *wanted.values())]

    def test_filters_take_a_value_or_several(self) -> None:
        self.assertEqual(["n1", "n3"], sorted(self.names(filters={"tenant_id": "t1"})))
        self.assertEqual(["n0", "n2"], sorted(self.names(filters={"name": ["n0", "n2", "n9"]})))

    def test_pages_follow_each_other_in_either_direction(self) -> None:
        for sort, expected in (
            (["name"], "n0 n1 n2 n3 n4"),
            (["-name"], "n4 n3 n2 n1 n0"),
            (["tenant_id", "-name"], "n4 n2 n0 n3 n1"),
        ):
            seen: list[str] = []
            marker = None
            while True:
                page = self.do(queries.page, None, None, sort, 2, marker)
                if not page:
                    break
                seen += [row["name"] for row in page]
                marker = page[-1]["id"]
            self.assertEqual(expected.split(), seen, sort)

    def test_what_is_not_known_is_named(self) -> None:
        for query, field in (
            ({"filters": {"colour": 1}}, "filters"),
            ({"filters": {"name": {"a": 1}}}, "filters.name"),
            ({"fields": ["colour"]}, "fields"),
            ({"sort": ["colour"]}, "sort"),
            ({"marker": "nobody"}, "marker"),
        ):
            self.assertEqual(field, self.assertRaises(Invalid, self.names, **query).field)


class SharedTransactionTests(Case):
    """What is accepted in one transaction with others is accepted as alone."""

    def together(self, *calls: tuple[Any, ...]) -> list[Any]:
        with self.engine.begin() as connection, gathering(connection, [a for call in calls for a in call]):
            return [function(connection, *args) for function, *args in calls]

    def test_a_message_that_was_accepted_before_changes_nothing(self) -> None:
        self.do(accept.create, network_service(id=SERVICE_ID), message(1))
        self.do(accept.update, SERVICE_ID, {"name": "x"}, message(2))
        [before] = self.rows()
        again, fresh = self.together(
            (accept.update, SERVICE_ID, {"name": "x"}, message(2)),
            (accept.update, SERVICE_ID, {"name": "y"}, message(3)),
        )
        [after] = self.rows()
        self.assertEqual((again, fresh), (Accepted(SERVICE_ID), Accepted(SERVICE_ID, wake=True)))
        self.assertEqual(("y", before["revision"] + 1), (after["name"], after["revision"]))

    def test_a_message_that_comes_twice_counts_once(self) -> None:
        self.do(accept.create, network_service(id=SERVICE_ID), message(1))
        [before] = self.rows()
        calls = [(accept.update, SERVICE_ID, {"name": "x"}, message(2))] * 2
        self.assertEqual([Accepted(SERVICE_ID, wake=True), Accepted(SERVICE_ID)], self.together(*calls))
        [after] = self.rows()
        self.assertEqual(before["revision"] + 1, after["revision"])
        self.assertEqual(2, len(self.rows(AcceptedMessage)))

    def test_each_kind_of_request_is_in_the_timeline_once(self) -> None:
        self.together(
            (accept.create, network_service(id=SERVICE_ID), message(1)),
            (accept.update, SERVICE_ID, {"name": "x"}, message(2)),
            (accept.refuse_update, SERVICE_ID, "bad", message(3)),
            (accept.refuse_update, SERVICE_ID, "bad", message(3)),
            (accept.delete, SERVICE_ID, message(4)),
        )
        told = [row["event"] for row in self.do(history.of, SERVICE_ID)]
        self.assertEqual(["create accepted", "update accepted", "update refused", "delete accepted"], told)
