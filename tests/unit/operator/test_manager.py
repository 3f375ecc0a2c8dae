"""Tests for calling the manager: by name or id, page by page."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from nfp.model.errors import Conflict, NotFound
from nfp.operator import manager
from nfp.operator.manager import Manager
from tests.unit.operator.manager_double import ManagerDouble


class Finding(SynchronousTestCase):
    def setUp(self) -> None:
        self.double = ManagerDouble()
        self.manager = Manager(self.double, 10.0)

    def result(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def test_an_id_is_asked_for_directly(self) -> None:
        service = self.double.add(name="fw")
        self.assertEqual(self.result(self.manager.find(service["id"]))["name"], "fw")
        self.assertEqual(self.double.methods(), ["get_network_service"])

    def test_a_name_is_looked_for(self) -> None:
        service = self.double.add(name="fw")
        self.double.add(name="other")
        self.assertEqual(self.result(self.manager.find("fw"))["id"], service["id"])

    def test_a_name_that_looks_like_an_id_is_found_too(self) -> None:
        name = str(uuid4())
        service = self.double.add(name=name)
        self.assertEqual(self.result(self.manager.find(name))["id"], service["id"])

    def test_what_is_not_there_is_not_found(self) -> None:
        for unknown in ("fw", str(uuid4())):
            failure = self.failureResultOf(Deferred.fromCoroutine(self.manager.find(unknown)), NotFound)
            self.assertIn(unknown, str(failure.value))

    def test_a_name_that_several_have_is_refused_with_their_ids(self) -> None:
        ids = [self.double.add(name="fw")["id"] for _ in range(2)]
        failure = self.failureResultOf(Deferred.fromCoroutine(self.manager.find("fw")), Conflict)
        for identity in ids:
            self.assertIn(identity, str(failure.value))

    def test_all_are_fetched_page_by_page(self) -> None:
        self.patch(manager, "PAGE", 2)
        ids = sorted(self.double.add()["id"] for _ in range(5))
        self.assertEqual([one["id"] for one in self.result(self.manager.every({}))], ids)
        self.assertEqual(len(self.double.calls), 3)
