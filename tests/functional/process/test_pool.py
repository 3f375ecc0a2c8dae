"""A pool of real workers."""

from __future__ import annotations

from twisted.internet.defer import gatherResults

from nfp.model.errors import Conflict, NfpError, NotFound
from nfp.process.interfaces import Event
from tests.functional.process.pools import PoolCase, until


class PoolTests(PoolCase):
    """Events and keys through real processes."""

    async def test_events_of_one_key_run_in_one_worker_in_order(self) -> None:
        pool = await self.started(2)
        answers = await gatherResults([self.perform(pool, "answer", "one", n=n) for n in range(50)])
        self.assertEqual(len({answer["pid"] for answer in answers}), 1)
        self.assertEqual(self.lines("perform"), [f"perform answer {n}" for n in range(50)])

    async def test_keys_spread_over_the_workers(self) -> None:
        pool = await self.started(2)
        answers = await gatherResults([self.perform(pool, "answer", f"k{n}") for n in range(20)])
        self.assertEqual({answer["index"] for answer in answers}, {0, 1})

    async def test_an_error_of_ours_crosses_with_code_text_and_field(self) -> None:
        pool = await self.started()
        with self.assertRaises(Conflict) as caught:
            await self.perform(pool, "conflict")
        self.assertEqual((caught.exception.reason, caught.exception.field), ("is another's", "owner"))

    async def test_any_other_error_crosses_without_its_detail(self) -> None:
        pool = await self.started()
        with self.assertRaises(NfpError) as caught:
            await self.perform(pool, "break")
        self.assertEqual(caught.exception.code, "Error")
        self.assertNotIn("secret", str(caught.exception))

    async def test_an_event_that_nobody_handles_is_refused(self) -> None:
        pool = await self.started()
        with self.assertRaises(NotFound):
            await pool.submit(Event("k", "nobody", {}))

    async def test_a_handler_asks_another_worker_and_the_request_id_goes_along(self) -> None:
        pool = await self.started(2)
        self.assertEqual(await self.perform(pool, "ask", "k0", of="k1", n=7), "req-1")
        self.assertEqual(await self.perform(pool, "ask", "k1", of="k1x", n=7), "req-1")

    async def test_a_worker_emits_and_wakes(self) -> None:
        pool = await self.started(2)
        await self.perform(pool, "emit", n=3, wake="key:once:a")
        [(_, name, payload)] = self.diary.emitted
        self.assertEqual((name, payload), ("health", {"n": 3}))
        await until(lambda: self.lines("run once a"), "the woken key ran")

    async def test_a_key_woken_while_it_runs_runs_once_more(self) -> None:
        pool = await self.started()
        pool.wake("key:slow:gate")
        await until(lambda: self.lines("run slow gate 1"), "it runs")
        for _ in range(5):
            pool.wake("key:slow:gate")
        self.touch("gate")
        await until(lambda: self.lines("end slow gate 2"), "it ran again")
        await self.perform(pool, "answer")
        self.assertEqual(len(self.lines("run slow")), 2)

    async def test_a_key_runs_again_after_its_delay_until_it_settles(self) -> None:
        pool = await self.started()
        pool.wake("key:again:a")
        await until(lambda: self.lines("run again a 3"), "the third run")
        await until(lambda: pool.stats()[0]["keys_sleeping"] == 0, "it settled")

    async def test_hundreds_of_keys_run_at_once(self) -> None:
        pool = await self.started()
        for n in range(150):
            pool.wake(f"key:slow:g{n}")
        await until(lambda: len(self.lines("run slow")) == 150, "all run")
        self.assertEqual(pool.stats()[0]["keys_running"], 150)
        for n in range(150):
            self.touch(f"g{n}")
        await until(lambda: pool.stats()[0]["keys_running"] == 0, "all have ended")

    async def test_an_event_waits_while_the_store_is_away_and_keeps_its_place(self) -> None:
        pool = await self.started()
        first = self.perform(pool, "store_away", "k", n=1)
        second = self.perform(pool, "answer", "k", n=2)
        other = await self.perform(pool, "answer", "other", n=3)
        self.assertEqual(other["n"], 3)
        self.assertFalse(first.called or second.called)
        self.touch("store")
        self.assertEqual(await first, "stored")
        self.assertEqual((await second)["n"], 2)

    async def test_stopping_finishes_what_is_in_hand_and_ends_the_modules(self) -> None:
        pool = await self.started()
        event = self.perform(pool, "wait", file="gate", n=1)
        behind = self.perform(pool, "answer", n=2)
        pool.wake("poll:x:y")
        await until(lambda: self.lines("perform wait") and self.lines("poll"), "both run")
        stopped = pool.stopService()
        self.touch("gate")
        await stopped
        self.assertEqual([(await event)["n"], (await behind)["n"]], [1, 2])
        self.assertEqual(self.lines("stopped"), ["stopped"])
        self.assertIsNone(pool.stats()[0]["pid"])
