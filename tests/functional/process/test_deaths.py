"""What happens when workers die, hang, or lose their parent."""

from __future__ import annotations

import os
import signal
import sys

from twisted.internet import reactor  # noqa: TID251 -- real processes need the real one
from twisted.internet.defer import gatherResults
from twisted.internet.protocol import ProcessProtocol

from nfp.model.errors import NfpError, Permanent
from nfp.process.keeper import Pulse
from tests.functional.process.pools import GROUP, PoolCase, alive, register, until


class DeathTests(PoolCase):
    """A worker dies; what it had in hand does not."""

    async def test_events_in_flight_are_answered_by_the_fresh_worker(self) -> None:
        pool = await self.started()
        old = pool.stats()[0]["pid"]
        events = [self.perform(pool, "wait", f"k{n}", file="gate", n=n) for n in range(20)]
        behind = self.perform(pool, "answer", "k3", n=100)
        await until(lambda: len(self.lines("perform wait")) == 20, "all run")
        os.kill(int(str(old)), signal.SIGKILL)
        await until(lambda: self.diary.started == [0, 0], "a fresh worker is ready")
        self.touch("gate")
        answers = await gatherResults([*events, behind])
        self.assertEqual([answer["n"] for answer in answers], [*range(20), 100])
        self.assertEqual({answer["pid"] for answer in answers}, {pool.stats()[0]["pid"]})
        self.assertNotEqual(pool.stats()[0]["pid"], old)
        self.assertEqual((pool.stats()[0]["suspects"], pool.stats()[0]["restarts"]), (0, 1))

    async def test_a_poison_event_is_parked_and_its_neighbours_finish(self) -> None:
        pool = await self.started()
        neighbours = [self.perform(pool, "wait", f"k{n}", file="gate", n=n) for n in range(5)]
        poison = self.perform(pool, "die", "poison", n=66)
        behind = self.perform(pool, "answer", "poison", n=67)
        self.touch("gate")
        with self.assertRaises(Permanent):
            await poison
        answers = await gatherResults([*neighbours, behind])
        self.assertEqual([answer["n"] for answer in answers], [0, 1, 2, 3, 4, 67])
        [(event, why)] = self.diary.parked
        self.assertEqual(event.payload["args"], {"do": "die", "n": 66})  # type: ignore[index]
        self.assertIn("signal 6", why)
        self.assertIn("_do_die", why)  # the last traceback
        self.assertLessEqual(len(self.lines("perform die")), 4)

    async def test_a_poison_key_is_held_until_it_is_released(self) -> None:
        pool = await self.started()
        pool.wake("key:slow:gate")
        pool.wake("key:die:a")
        await until(lambda: self.diary.started == [0, 0], "the first death")
        self.touch("gate")
        await until(lambda: self.diary.held, "it is held")
        [(key, why)] = self.diary.held
        self.assertEqual(key, "key:die:a")
        self.assertIn("signal 6", why)
        await until(lambda: self.lines("end slow gate"), "its neighbour ended")
        runs = len(self.lines("run die"))
        pool.wake("key:die:a")
        pool.wake("key:once:b")
        await until(lambda: self.lines("run once b"), "others run")
        self.assertEqual((len(self.lines("run die")), pool.stats()[0]["held"]), (runs, ["key:die:a"]))
        self.assertTrue(pool.release("key:die:a"))
        pool.wake("key:die:a")
        await until(lambda: len(self.lines("run die")) > runs, "it runs again")

    async def test_a_poll_is_never_a_suspect_and_goes_on_in_the_fresh_worker(self) -> None:
        pool = await self.started()
        pool.wake("poll:agent:a")
        await until(lambda: self.lines("poll"), "it polls")
        for n in range(1, 5):
            os.kill(int(str(pool.stats()[0]["pid"])), signal.SIGKILL)
            await until(lambda n=n: len(self.lines("poll")) == n + 1, "it polls again")
        self.assertEqual((self.diary.held, pool.stats()[0]["strikes"]), ([], 0))

    async def test_a_worker_that_hangs_is_killed_and_says_where(self) -> None:
        pool = await self.started(pulse=Pulse(interval=0.2, silence=0.6, first_pause=0.05))
        hang = self.perform(pool, "hang", "bad")
        with self.assertRaises(Permanent):
            await hang
        [(_, why)] = self.diary.parked
        self.assertIn("_do_hang", why)
        self.assertEqual((await self.perform(pool, "answer"))["n"], None)

    async def test_a_stopped_worker_is_killed_too(self) -> None:
        pool = await self.started(pulse=Pulse(interval=0.2, silence=0.6, first_pause=0.05))
        os.kill(int(str(pool.stats()[0]["pid"])), signal.SIGSTOP)
        answer = self.perform(pool, "answer", n=1)
        self.assertEqual((await answer)["n"], 1)
        self.assertEqual(self.diary.started, [0, 0])

    async def test_what_a_worker_started_dies_with_it(self) -> None:
        pool = await self.started()
        grandchild = await self.perform(pool, "spawn")
        self.assertTrue(alive(grandchild["pid"]))
        os.kill(grandchild["ours"], signal.SIGKILL)
        await until(lambda: not alive(grandchild["pid"]), "the grandchild is dead")

    async def test_workers_leave_sigterm_to_their_parent(self) -> None:
        pool = await self.started()
        pid = int(str(pool.stats()[0]["pid"]))
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        self.assertEqual((await self.perform(pool, "answer"))["pid"], pid)

    async def test_workers_die_with_a_parent_that_is_killed(self) -> None:
        script = self.folder / "parent.py"
        script.write_text(PARENT)
        told: list[bytes] = []

        class Parent(ProcessProtocol):
            def outReceived(self, data: bytes) -> None:
                told.append(data)

        parent = reactor.spawnProcess(  # type: ignore[attr-defined]
            Parent(),
            sys.executable,
            [sys.executable, str(script), GROUP, str(self.config)],
            env={**self.environ(), "PYTHONDONTWRITEBYTECODE": "1"},
            childFDs={0: "w", 1: "r", 2: 2},
        )
        self.addCleanup(lambda: parent.pid and parent.signalProcess("KILL"))
        await until(lambda: b"\n" in b"".join(told), "its workers are ready")
        pids = [int(pid) for pid in b"".join(told).split()]
        self.assertTrue(pids and all(alive(pid) for pid in pids))
        parent.signalProcess("KILL")
        await until(lambda: not any(alive(pid) for pid in pids), "its workers are dead", 5.0)
        await until(lambda: parent.pid is None, "it is reaped")


class StartTests(PoolCase):
    """A worker that cannot start."""

    async def test_the_reason_is_told_and_the_restarts_do_not_spin(self) -> None:
        register(self.site, "[nfp.test_broken]\nbroken = tests.functional.process.nowhere:Module\n", "broken")
        pool = self.pool(group="nfp.test_broken", pulse=Pulse(first_pause=60))
        pool.startService()
        with self.assertRaises(NfpError) as caught:
            await pool.when_started()
        self.assertIn("nfp.test_broken: 'broken'", str(caught.exception))
        self.assertIn("No module named", str(caught.exception))
        await until(lambda: pool.stats()[0]["restarts"] == 1, "it has ended")
        self.assertIsNone(pool.stats()[0]["pid"])


PARENT = """
import sys
from twisted.internet import reactor
from nfp.process.pool import WorkerPool

pool = WorkerPool(reactor, sys.argv[1], sys.argv[2:], 2, reader="tests.functional.process.behaviour:read")

def say(started):
    print(*(worker["pid"] for worker in pool.stats()), flush=True)

def main():
    pool.startService()
    pool.when_started().addCallback(say)

reactor.callWhenRunning(main)
reactor.run()
"""
