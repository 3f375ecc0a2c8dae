"""From the configurators' outboxes to the managers: at least once, acknowledged by managers alone."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.agent.collecting import BOOT_PAUSE, Acknowledged, Collector
from nfp.agent.configurators import Configurators
from tests.unit.agent.outbox import FakeConfigurator, agent_settings


class World:
    """An agent between fake configurators and whoever asks."""

    def __init__(self, *names: str, clock: Clock | None = None, start: bool = True) -> None:
        self.clock = clock or Clock()
        self.fakes = {name: FakeConfigurator(self.clock) for name in names}
        self.restart_agent(start)

    def restart_agent(self, start: bool = True) -> None:
        self.configurators = Configurators(
            self.clock, agent_settings(*self.fakes), connect=lambda one, size: self.fakes[one.name]
        )
        self.collector = Collector(self.clock, self.configurators)
        if start:
            self.configurators.startService()

    def ask(self, wait: float = 20, **stored: tuple[str, int]) -> Asked:
        return Asked(
            Deferred.fromCoroutine(
                self.collector.get_notifications(
                    {name: Acknowledged(*one) for name, one in stored.items()}, wait
                )
            )
        )


class Asked:
    def __init__(self, answer: Deferred[Any]) -> None:
        self.answer: Any = None
        answer.addCallback(self._answered)
        self.failed: list[object] = []
        answer.addErrback(self.failed.append)

    def _answered(self, answer: Any) -> None:
        self.answer = answer

    def kinds(self, name: str = "a") -> list[str]:
        return [one["kind"] for one in self.answer[name]["notifications"]]


class NotificationTests(SynchronousTestCase):
    def greeted(self, *names: str) -> World:
        """A world in which everybody knows every boot."""
        world = World(*(names or ("a",)))
        assert world.ask(0).answer is not None
        return world

    def test_what_is_told_is_answered_at_once(self) -> None:
        world = self.greeted()
        asked = world.ask()
        self.assertIsNone(asked.answer)
        world.fakes["a"].tell("one")
        self.assertEqual(asked.kinds(), ["one"])
        self.assertEqual(asked.answer["a"]["boot_id"], "boot-1")
        self.assertEqual(asked.answer["a"]["next"], 1)

    def test_what_was_told_between_two_questions_is_not_lost(self) -> None:
        world = self.greeted()
        world.fakes["a"].tell("one")
        self.assertEqual(world.ask().kinds(), ["one"])

    def test_nothing_to_tell_is_answered_when_the_time_is_up(self) -> None:
        world = self.greeted()
        asked = world.ask(wait=5)
        world.clock.advance(4.9)
        self.assertIsNone(asked.answer)
        world.clock.advance(0.2)
        self.assertEqual(asked.answer, {"a": {"boot_id": "boot-1", "notifications": [], "next": 0}})

    def test_I6_a_new_manager_gets_everything_unacknowledged(self) -> None:
        world = self.greeted()
        world.fakes["a"].tell("one", "two")
        self.assertEqual(world.ask().kinds(), ["one", "two"])
        self.assertEqual(world.ask().kinds(), ["one", "two"])

    def test_I6_the_agent_acknowledges_only_what_the_manager_has_stored(self) -> None:
        world = self.greeted()
        fake = world.fakes["a"]
        fake.tell("one", "two", "three")
        world.ask()
        world.clock.pump([1.0] * 60)
        self.assertEqual(sorted(fake.outbox), [1, 2, 3])
        self.assertEqual(world.ask(a=("boot-1", 2)).kinds(), ["three"])
        world.clock.pump([1.0] * 60)
        self.assertEqual(sorted(fake.outbox), [3])
        world.ask(a=("boot-1", 3))
        self.assertEqual(sorted(fake.outbox), [])

    def test_I6_an_acknowledgement_of_another_boot_drops_nothing(self) -> None:
        world = self.greeted()
        world.fakes["a"].tell("one")
        self.assertEqual(world.ask(a=("boot-0", 99)).kinds(), ["one"])
        world.clock.pump([1.0] * 60)
        self.assertEqual(sorted(world.fakes["a"].outbox), [1])

    def test_an_old_acknowledgement_repeated_changes_nothing(self) -> None:
        world = self.greeted()
        world.fakes["a"].tell("one", "two")
        world.ask(a=("boot-1", 2), wait=0)
        world.fakes["a"].tell("three")
        self.assertEqual(world.ask(a=("boot-1", 1)).kinds(), ["three"])
        self.assertEqual(max(int(poll.get("after", 0)) for poll in world.fakes["a"].polls), 2)

    def test_two_managers_both_hear_and_either_may_acknowledge(self) -> None:
        world = self.greeted()
        first, second = world.ask(), world.ask()
        world.fakes["a"].tell("one")
        self.assertEqual((first.kinds(), second.kinds()), (["one"], ["one"]))
        first, second = world.ask(a=("boot-1", 1)), world.ask()
        world.fakes["a"].tell("two")
        self.assertEqual((first.kinds(), second.kinds()), (["two"], ["two"]))

    def test_what_comes_while_something_is_unacknowledged_is_told_too(self) -> None:
        world = self.greeted()
        world.fakes["a"].tell("one")
        world.ask()
        world.fakes["a"].tell("two")
        world.clock.pump([1.0] * 6)
        self.assertEqual(world.ask().kinds(), ["one", "two"])

    def test_unacknowledged_notifications_do_not_make_the_agent_poll_in_a_circle(self) -> None:
        world = self.greeted()
        world.fakes["a"].tell("one")
        before = len(world.fakes["a"].polls)
        world.clock.pump([0.1] * 600)
        self.assertLessEqual(len(world.fakes["a"].polls) - before, 13)

    def test_a_silent_configurator_is_polled_no_more_often_than_it_holds_polls(self) -> None:
        world = self.greeted()
        before = len(world.fakes["a"].polls)
        world.clock.pump([0.5] * 400)
        self.assertLessEqual(len(world.fakes["a"].polls) - before, 11)

    def test_an_agent_that_was_restarted_tells_all_again_that_is_unacknowledged(self) -> None:
        world = self.greeted()
        world.fakes["a"].tell("one", "two")
        world.ask()
        world.configurators.stopService()
        world.restart_agent()
        self.assertEqual(world.ask().kinds(), ["one", "two"])
        self.assertEqual(world.ask(a=("boot-1", 1)).kinds(), ["two"])

    def test_an_acknowledgement_to_an_agent_that_has_heard_nothing_yet_is_passed_on(self) -> None:
        world = World("a", start=False)
        world.fakes["a"].tell("one", "two")
        asked = world.ask(a=("boot-1", 1))
        world.configurators.startService()
        self.assertEqual(asked.kinds(), ["two"])
        self.assertEqual(sorted(world.fakes["a"].outbox), [2])

    def test_a_dead_configurator_delays_nobody(self) -> None:
        world = self.greeted("a", "b")
        world.fakes["b"].go_down()
        asked = world.ask()
        world.fakes["a"].tell("one")
        self.assertEqual(asked.kinds(), ["one"])
        self.assertEqual(
            asked.answer["b"], {"error": {"code": "Transient", "message": "connection lost", "field": None}}
        )

    def test_a_deaf_configurator_delays_nobody(self) -> None:
        world = World("a", "b", start=False)
        world.fakes["b"].deaf = True
        world.configurators.startService()
        world.fakes["a"].tell("one")
        self.assertEqual(world.ask().kinds(), ["one"])
        world.clock.pump([1.0] * 100)
        self.assertEqual(world.ask().answer["b"]["error"]["message"], "too late")

    def test_a_configurator_that_comes_back_is_heard_again_soon(self) -> None:
        world = self.greeted()
        fake = world.fakes["a"]
        fake.go_down()
        world.clock.pump([1.0] * 300)
        asked = world.ask(wait=20)
        fake.down = None
        fake.tell("back")
        world.clock.pump([0.5] * 5)
        self.assertEqual(asked.kinds(), ["back"])

    def test_what_came_before_the_connection_broke_is_told_although_it_is_down(self) -> None:
        world = self.greeted()
        world.fakes["a"].tell("one")
        world.fakes["a"].go_down()
        world.clock.pump([1.0] * 30)
        self.assertEqual(world.ask().kinds(), ["one"])

    def test_another_boot_is_told_at_once_to_who_waits(self) -> None:
        world = self.greeted()
        asked = world.ask(a=("boot-1", 0))
        world.fakes["a"].restart("boot-2")
        world.clock.pump([0.5] * 4)
        self.assertEqual(asked.answer["a"], {"boot_id": "boot-2", "notifications": [], "next": 0})

    def test_another_boot_is_told_soon_to_who_knows_only_the_last(self) -> None:
        world = self.greeted()
        world.fakes["a"].restart("boot-2")
        world.clock.pump([0.5] * 4)
        asked = world.ask(a=("boot-1", 7))
        self.assertIsNone(asked.answer, "asked in a circle, this would never wait")
        world.clock.advance(BOOT_PAUSE)
        self.assertEqual(asked.answer["a"]["boot_id"], "boot-2")

    def test_what_an_old_boot_told_is_kept_until_stored_and_the_new_boot_follows(self) -> None:
        world = self.greeted()
        fake = world.fakes["a"]
        fake.tell("old")
        fake.restart("boot-2")
        fake.tell("new")
        world.clock.pump([1.0] * 20)
        first = world.ask()
        self.assertEqual((first.answer["a"]["boot_id"], first.kinds()), ("boot-1", ["old"]))
        second = world.ask(a=("boot-1", 1))
        self.assertEqual((second.answer["a"]["boot_id"], second.kinds()), ("boot-2", ["new"]))
        self.assertEqual(sorted(fake.outbox), [1])

    def test_sequences_of_an_old_boot_do_not_hide_those_of_the_new_one(self) -> None:
        world = self.greeted()
        fake = world.fakes["a"]
        fake.tell("1", "2", "3")
        world.ask(a=("boot-1", 3), wait=0)
        fake.restart("boot-2")
        fake.tell("new")
        world.clock.pump([0.5] * 4)
        self.assertEqual(world.ask(a=("boot-1", 3)).kinds(), ["new"])

    def test_a_name_that_is_not_known_is_an_error_of_its_own_and_the_rest_waits(self) -> None:
        world = self.greeted()
        asked = world.ask(wait=5, ghost=("b", 1))
        self.assertIsNone(asked.answer)
        world.clock.advance(5)
        self.assertEqual(asked.answer["ghost"]["error"]["code"], "NoSuchConfigurator")
        self.assertEqual(asked.answer["a"]["notifications"], [])

    def test_an_answer_that_is_none_is_an_error_and_polling_goes_on(self) -> None:
        world = self.greeted()
        fake = world.fakes["a"]
        fake.boot_id = 7  # type: ignore[assignment] # what a broken server might send
        fake.break_connections()
        world.clock.pump([0.5] * 4)
        self.assertIn("cannot be read", world.ask(0).answer["a"]["error"]["message"])
        fake.restart("boot-2")
        fake.tell("sane again")
        world.clock.pump([1.0] * 4)
        self.assertEqual(world.ask().kinds(), ["sane again"])

    def test_stopping_answers_all_who_wait_and_closes_connections(self) -> None:
        world = self.greeted()
        asked = world.ask(wait=60)
        world.collector.stopService()
        self.assertEqual(asked.answer["a"]["notifications"], [])
        self.assertIsNotNone(world.ask(wait=60).answer)
        self.successResultOf(world.configurators.stopService())
        self.assertEqual(world.fakes["a"].held, [])
        self.assertEqual(world.fakes["a"].closed, 2)
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_a_stop_that_a_notification_sets_off_ends_the_poll(self) -> None:
        world = self.greeted()
        asked = Deferred.fromCoroutine(world.collector.get_notifications({}, 20))
        asked.addCallback(lambda _: world.configurators.stopService())
        world.fakes["a"].tell("one")
        self.successResultOf(asked)
        before = len(world.fakes["a"].polls)
        world.clock.pump([1.0] * 30)
        self.assertEqual(len(world.fakes["a"].polls), before)
        self.assertEqual(world.clock.getDelayedCalls(), [])
