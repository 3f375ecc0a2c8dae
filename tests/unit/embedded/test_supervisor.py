"""Processes that are kept running: when they are started again, and when not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nfp.embedded.processes import Command
from nfp.embedded.supervisor import Backoff, Keeper, State
from nfp.model.errors import Unavailable


class FakePort:
    """A datagram port that somebody listens on."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.open = True

    def stopListening(self) -> Deferred[None]:
        self.open = False
        return succeed(None)


class FakeProcess:
    """A process that ends when the test says so."""

    def __init__(self, protocol: Any, argv: list[str], env: dict[str, str], pid: int) -> None:
        self.protocol = protocol
        self.argv = argv
        self.env = env
        self.pid = pid
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def end(self, *, status: int | None = None, by: int | None = None) -> None:
        ending = error.ProcessDone(0) if status == 0 else error.ProcessTerminated(status, by)
        self.protocol.processEnded(Failure(ending))


class FakeReactor(Clock):
    """Starts processes and listens, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.ports: list[FakePort] = []

    def spawnProcess(
        self, protocol: Any, program: str, args: list[str], env: dict[str, str], path: str
    ) -> None:
        process = FakeProcess(protocol, args, env, 1000 + len(self.processes))
        protocol.makeConnection(process)
        self.processes.append(process)

    def listenUNIXDatagram(self, path: str, protocol: Any) -> FakePort:
        self.ports.append(FakePort(protocol))
        return self.ports[-1]


class BackoffTests(SynchronousTestCase):
    """How long to wait."""

    def test_doubles_up_to_a_limit(self) -> None:
        backoff = Backoff(first=0.2, limit=1.0)
        self.assertEqual([backoff.delay(n) for n in (1, 2, 3, 4, 1000)], [0.2, 0.4, 0.8, 1.0, 1.0])

    def test_a_long_life_is_forgiven_its_past(self) -> None:
        backoff = Backoff(healthy=30)
        self.assertEqual(backoff.deaths(7, 30.0), 1)
        self.assertEqual(backoff.deaths(7, 29.9), 8)


class KeeperTests(SynchronousTestCase):
    """One kept process."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.told: list[str] = []
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def keeper(self, **more: Any) -> Keeper:
        command = Command("thing", ("/bin/thing", "--now"), namespace="nfp-x-rtr")
        return Keeper(self.reactor, command, self.directory, self.directory, self.told.append, **more)

    def ready(self) -> None:
        self.reactor.ports[0].protocol.datagramReceived(b"STATUS=fine\nREADY=1\n", None)

    def test_it_is_started_on_the_leash_in_its_namespace_and_told_where_to_say_ready(self) -> None:
        self.keeper().start()
        (process,) = self.reactor.processes
        self.assertTrue(process.argv[3].endswith("leash.py"))
        self.assertEqual(process.argv[5:], ["nfp-x-rtr", "/bin/thing", "--now"])
        self.assertEqual(process.env["NOTIFY_SOCKET"], str(self.directory / "notify-thing.sock"))

    def test_it_is_ready_when_it_says_so_and_not_before(self) -> None:
        keeper = self.keeper()
        started = keeper.start()
        self.reactor.ports[0].protocol.datagramReceived(b"STATUS=READY=1 soon", None)
        self.assertNoResult(started)
        self.ready()
        self.assertIsNone(self.successResultOf(started))
        self.assertIs(keeper.state, State.READY)

    def test_a_death_before_the_first_readiness_is_a_failed_start_with_its_last_words(self) -> None:
        keeper = self.keeper()
        started = keeper.start()
        (process,) = self.reactor.processes
        process.protocol.childDataReceived(2, b"[proxy] target: is required\n")
        process.end(status=1)
        failure = self.failureResultOf(started, Unavailable)
        self.assertIn("exit status 1", str(failure.value))
        self.assertIn("[proxy] target: is required", str(failure.value))
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 1)

    def test_a_death_later_starts_it_again_after_a_growing_pause(self) -> None:
        keeper = self.keeper(backoff=Backoff(first=1, limit=8, healthy=60))
        keeper.start()
        self.ready()
        for pause in (1, 2, 4, 8, 8):
            self.reactor.processes[-1].end(by=9)
            before = len(self.reactor.processes)
            self.reactor.advance(pause - 0.01)
            self.assertEqual(len(self.reactor.processes), before)
            self.reactor.advance(0.02)
            self.assertEqual(len(self.reactor.processes), before + 1)
        self.assertEqual(self.told[0], "thing died (killed by signal 9); it is started again in 1 s")

    def test_it_tells_when_it_is_back(self) -> None:
        keeper = self.keeper()
        keeper.start()
        self.ready()
        self.reactor.processes[0].end(by=9)
        self.reactor.advance(1)
        self.ready()
        self.assertEqual(self.told[-1], "thing is back (process 1001)")

    def test_what_it_says_is_kept(self) -> None:
        self.keeper().start()
        self.reactor.processes[0].protocol.childDataReceived(1, b"one\n")
        self.reactor.processes[0].protocol.childDataReceived(2, b"two\n")
        self.assertEqual((self.directory / "thing.log").read_bytes(), b"one\ntwo\n")

    def test_stopping_asks_first_and_insists_later(self) -> None:
        keeper = self.keeper()
        keeper.start()
        self.ready()
        stopping = ensureDeferred(keeper.stop(5))
        (process,) = self.reactor.processes
        self.assertEqual(process.signals, ["TERM"])
        self.reactor.advance(5)
        self.assertEqual(process.signals, ["TERM", "KILL"])
        self.assertNoResult(stopping)
        process.end(by=9)
        self.successResultOf(stopping)
        self.assertFalse(self.reactor.ports[0].open)

    def test_a_stopped_one_is_not_started_again(self) -> None:
        keeper = self.keeper()
        keeper.start()
        self.ready()
        stopping = ensureDeferred(keeper.stop(5))
        self.reactor.processes[0].end(status=0)
        self.successResultOf(stopping)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 1)
        self.assertEqual(self.told, [])

    def test_stopping_while_it_waits_to_be_started_again(self) -> None:
        keeper = self.keeper()
        keeper.start()
        self.ready()
        self.reactor.processes[0].end(by=9)
        self.successResultOf(ensureDeferred(keeper.stop(5)))
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 1)

    def test_one_that_cannot_say_ready_is_asked(self) -> None:
        answers = [False, False, True]
        started = self.keeper(probe=lambda: answers.pop(0)).start()
        self.assertNoResult(started)
        self.reactor.pump([0.05, 0.05])
        self.successResultOf(started)
        self.assertEqual(answers, [])
