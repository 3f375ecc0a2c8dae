"""What managers are told about an agent."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nfp.agent.configurators import Configurators
from nfp.agent.report import Reporter
from nfp.rpc.errors import RpcTimeout, Unroutable
from tests.unit.agent.outbox import FakeConfigurator, agent_settings


class FakeCaster:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reports: list[Mapping[str, object]] = []
        self.away = False
        self.nobody = False

    async def cast(self, topic: str, method: str, args: Mapping[str, object], *, timeout: float) -> None:
        if self.away:
            try:
                await Deferred().addTimeout(timeout, self._clock)
            except TimeoutError:
                raise RpcTimeout("no broker") from None
        if self.nobody:
            raise Unroutable("nobody serves it")
        assert (topic, method, set(args)) == ("nfp-service-manager", "report_agent", {"agent"})
        agent = args["agent"]
        assert isinstance(agent, dict)
        self.reports.append(agent)


class ReporterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.fake = FakeConfigurator(self.clock)
        self.configurators = Configurators(
            self.clock, agent_settings("a"), connect=lambda one, size: self.fake
        )
        self.caster = FakeCaster(self.clock)
        self.reporter = Reporter(self.clock, self.caster, self.configurators, "host-1", 5.0)
        self.addCleanup(self.configurators.stopService)
        self.addCleanup(self.reporter.stopService)

    def reached(self) -> list[object]:
        return [report["configurators"][0]["reachable"] for report in self.caster.reports]  # type: ignore[index]

    def test_it_reports_at_once_and_then_every_interval(self) -> None:
        self.reporter.startService()
        self.assertEqual(len(self.caster.reports), 1)
        self.clock.pump([0.5] * 20)
        self.assertEqual(len(self.caster.reports), 3)

    def test_a_report_says_who_and_what_is_reached(self) -> None:
        self.configurators.startService()
        self.reporter.startService()
        self.assertEqual(
            self.caster.reports,
            [
                {
                    "host": "host-1",
                    "boot_id": self.reporter.boot_id,
                    "time": "2023-11-14T22:13:20.000Z",
                    "configurators": [
                        {
                            "name": "a",
                            "tenant_id": "tenant-a",
                            "router_id": "router-a",
                            "boot_id": "boot-1",
                            "reachable": True,
                        }
                    ],
                }
            ],
        )

    def test_reachability_is_reported_as_it_changes(self) -> None:
        self.reporter.startService()
        self.configurators.startService()
        self.assertEqual(self.reached(), [False, True])
        self.fake.go_down()
        self.assertEqual(self.reached(), [False, True, False])

    def test_another_boot_is_reported_at_once(self) -> None:
        self.configurators.startService()
        self.reporter.startService()
        self.fake.restart("boot-2")
        self.clock.pump([0.5] * 2)
        self.assertEqual(self.caster.reports[-1]["configurators"][0]["boot_id"], "boot-2")  # type: ignore[index]

    def test_it_goes_on_after_the_broker_was_away(self) -> None:
        self.caster.away = True
        self.reporter.startService()
        self.clock.pump([1.0] * 60)
        self.assertEqual(self.caster.reports, [])
        self.caster.away = False
        self.clock.pump([1.0] * 6)
        self.assertGreaterEqual(len(self.caster.reports), 1)

    def test_managers_that_are_away_are_tried_every_interval(self) -> None:
        self.caster.nobody = True
        self.reporter.startService()
        self.clock.pump([1.0] * 60)
        self.caster.nobody = False
        self.clock.pump([1.0] * 5)
        self.assertEqual(len(self.caster.reports), 1)

    def test_it_stops(self) -> None:
        self.reporter.startService()
        self.reporter.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
