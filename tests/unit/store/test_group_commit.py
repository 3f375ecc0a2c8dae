"""Tests for group commit: what goes together, in which order, and who fails when one does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.daemon import journal
from nfp.manager.store import gathered
from nfp.manager.store.base import Base
from nfp.manager.store.engine import Store, make_engine
from nfp.manager.store.group_commit import GroupCommit
from nfp.manager.store.tables import Tombstone
from nfp.model.errors import Invalid, Unavailable


class Gate:
    """Runs blocking calls one by one, each when told."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        self.transactions = 0

    async def call(self, function: Callable[..., Any], *args: object) -> Any:
        gate: Deferred[None] = Deferred()
        self.waiting.append(gate)
        await gate
        self.transactions += 1
        return function(*args)

    def open(self) -> None:
        self.waiting.pop(0).callback(None)

    def open_all(self) -> None:
        while self.waiting:
            self.open()


class GroupCommitCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = Gate()
        self.engine = make_engine("sqlite://")
        self.addCleanup(self.engine.dispose)
        Base.metadata.create_all(self.engine)
        self.group = GroupCommit(Store(self.engine, self.gate, self.clock), self.clock, limit=3)
        self.order: list[str] = []

    def bury(self, connection: sa.Connection, identity: str) -> str:
        self.order.append(identity)
        if identity.startswith("bad"):
            raise Invalid("is bad", field=identity)
        connection.execute(sa.insert(Tombstone).values(id=identity, at=1.0))
        return f"buried {identity}"

    def write(self, key: str) -> Deferred[str]:
        return Deferred.fromCoroutine(self.group.write(key, self.bury, key))

    def stored(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(Tombstone.id).order_by(Tombstone.id)).scalars())


class Groups(GroupCommitCase):
    def test_what_arrives_in_one_turn_is_one_transaction_sorted_by_key(self) -> None:
        results = [self.write(key) for key in "cab"]
        self.clock.advance(0)
        self.gate.open_all()
        self.assertEqual(
            [self.successResultOf(result) for result in results], ["buried c", "buried a", "buried b"]
        )
        self.assertEqual(self.order, ["a", "b", "c"])
        self.assertEqual(self.gate.transactions, 1)

    def test_what_arrives_while_one_runs_goes_together_into_the_next(self) -> None:
        first = self.write("a")
        self.clock.advance(0)
        later = [self.write(key) for key in "bc"]
        self.clock.advance(0)
        self.assertEqual(len(self.gate.waiting), 1)
        self.gate.open()
        self.successResultOf(first)
        self.assertNoResult(later[0])
        self.gate.open()
        for result in later:
            self.successResultOf(result)
        self.assertEqual(self.gate.transactions, 2)

    def test_a_group_has_a_limit(self) -> None:
        results = [self.write(key) for key in "abcd"]
        self.clock.advance(0)
        self.gate.open()
        self.assertNoResult(results[3])
        self.assertEqual(self.stored(), ["a", "b", "c"])
        self.gate.open()
        self.assertEqual(self.stored(), ["a", "b", "c", "d"])

    def test_after_a_rest_it_goes_on(self) -> None:
        for key in "ab":
            result = self.write(key)
            self.clock.advance(0)
            self.gate.open_all()
            self.successResultOf(result)

    def test_reads_share_a_transaction_too(self) -> None:
        results = [Deferred.fromCoroutine(self.group.read(lambda c, n: n * 2, n)) for n in range(3)]
        self.clock.advance(0)
        self.gate.open_all()
        self.assertEqual([self.successResultOf(result) for result in results], [0, 2, 4])
        self.assertEqual(self.gate.transactions, 1)

    def test_look_ups_share_a_call(self) -> None:
        asked: list[set[str]] = []

        def sizes(connection: sa.Connection, keys: Collection[str]) -> dict[str, int]:
            asked.append({*keys})
            return {key: len(key) for key in keys if key != "gone"}

        def look_up(key: str) -> Deferred[int | None]:
            return Deferred.fromCoroutine(self.group.look_up(sizes, key))

        results = [look_up(key) for key in ("a", "bb", "gone", "a")]
        self.clock.advance(0)
        self.gate.open_all()
        self.assertEqual([self.successResultOf(result) for result in results], [1, 2, None, 1])
        self.assertEqual(asked, [{"a", "bb", "gone"}, {"a"}])  # three go into one transaction


class Failures(GroupCommitCase):
    def test_only_the_guilty_one_fails(self) -> None:
        good, bad, fine = (self.write(key) for key in ("a", "bad", "c"))
        self.clock.advance(0)
        self.gate.open_all()
        self.assertEqual(self.successResultOf(good), "buried a")
        self.assertEqual(self.successResultOf(fine), "buried c")
        self.assertEqual(self.failureResultOf(bad, Invalid).value.field, "bad")
        self.assertEqual(self.stored(), ["a", "c"])

    def test_an_integrity_error_is_its_owners_alone(self) -> None:
        first, second = self.write("a"), self.write("a")
        self.clock.advance(0)
        self.gate.open_all()
        self.successResultOf(first)
        self.failureResultOf(second, sa.exc.IntegrityError)

    def test_a_database_that_is_away_fails_the_group_once(self) -> None:
        engine = make_engine("sqlite:////nowhere/at/all.db")
        group = GroupCommit(Store(engine, self.gate, self.clock), self.clock)
        results = [Deferred.fromCoroutine(group.write(key, self.bury, key)) for key in "ab"]
        self.clock.advance(0)
        self.gate.open_all()
        for result in results:
            self.failureResultOf(result, Unavailable)
        self.assertEqual(self.gate.transactions, 1)


class Gathering(GroupCommitCase):
    """Rows and look-ups that the functions of a group have in common."""

    adding = sa.insert(Tombstone)

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[list[str]] = []
        self.inserts = 0

        def count(*about: Any) -> None:
            self.inserts += about[2].startswith("INSERT")

        sa.event.listen(self.engine, "before_cursor_execute", count)

    def sizes(self, connection: sa.Connection, keys: Sequence[str]) -> dict[str, int]:
        self.asked.append([*keys])
        return {key: len(key) for key in keys}

    def look(self, connection: sa.Connection, key: str) -> int:
        size: int = gathered.common(connection, str, key, self.sizes)[key]
        gathered.note(connection, self.sizes, "bb", 7)
        gathered.add(connection, self.adding, [{"id": key, "at": 1.0}])
        if key == "bad":
            raise Invalid("is bad")
        return size

    def ask(self, *keys: str) -> list[Deferred[int]]:
        asked = [Deferred.fromCoroutine(self.group.write(key, self.look, key)) for key in keys]
        self.clock.advance(0)
        self.gate.open_all()
        return asked

    def test_a_group_looks_up_once_and_adds_at_once(self) -> None:
        sizes = self.ask("a", "bb", "ccc")
        self.assertEqual([self.successResultOf(size) for size in sizes], [1, 7, 3])
        self.assertEqual(self.asked, [["a", "bb", "ccc"]])
        self.assertEqual(self.stored(), ["a", "bb", "ccc"])
        self.assertEqual(self.inserts, 1)

    def test_whoever_is_alone_looks_and_adds_for_itself(self) -> None:
        [size] = self.ask("bb")
        self.assertEqual((self.successResultOf(size), self.asked), (2, [["bb"]]))
        self.assertEqual(self.stored(), ["bb"])

    def test_nothing_is_left_of_a_group_that_is_taken_apart(self) -> None:
        first, second = self.ask("a", "bad")
        self.successResultOf(first)
        self.failureResultOf(second, Invalid)
        self.assertEqual(self.asked, [["a", "bad"], ["a"], ["bad"]])
        self.assertEqual(self.stored(), ["a"])
        self.assertEqual(self.inserts, 2)  # each alone

    def test_a_row_that_is_there_already_is_the_failure_of_its_owner_alone(self) -> None:
        self.ask("bb")
        first, second = self.ask("a", "bb")
        self.successResultOf(first)
        self.failureResultOf(second, sa.exc.IntegrityError)
        self.assertEqual(self.stored(), ["a", "bb"])


class RequestIds(GroupCommitCase):
    def test_each_runs_under_the_request_that_asked_for_it(self) -> None:
        seen: list[tuple[str, str | None]] = []

        def note(connection: sa.Connection, key: str) -> None:
            seen.append((key, journal.request_id.get()))

        for key in "ba":
            with journal.bind(f"req-{key}"):
                _ = Deferred.fromCoroutine(self.group.write(key, note, key))
        self.clock.advance(0)
        self.gate.open_all()
        with journal.bind("req-alone"):
            _ = Deferred.fromCoroutine(self.group.write("alone", note, "alone"))
        self.clock.advance(0)
        self.gate.open_all()
        self.assertEqual(seen, [("a", "req-a"), ("b", "req-b"), ("alone", "req-alone")])
