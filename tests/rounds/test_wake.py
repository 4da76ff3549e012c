"""Threads nearby: a run is looked at by one at a time, and nothing that is asked meanwhile is lost."""

from __future__ import annotations

import asyncio
import threading

from rounds import live
from rounds.engine.wake import Nearby


def test_words_that_come_during_a_look_are_one_look_more():
    looks: list[str] = []
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def look(run_id: str) -> None:
        looks.append(run_id)
        begun.set()
        assert go_on.wait(10)
        if len(looks) == 2:
            done.set()

    nearby = Nearby(look, threads=2)
    nearby.ask("a")
    assert begun.wait(10)
    for _ in range(5):
        nearby.ask("a")
    go_on.set()
    assert done.wait(10)
    nearby._threads.shutdown(wait=True)
    assert looks == ["a", "a"]


def test_one_runs_trouble_does_not_keep_the_next_look_away():
    seen = threading.Event()

    def look(run_id: str) -> None:
        if run_id == "broken":
            raise RuntimeError("its disk is full")
        seen.set()

    nearby = Nearby(look, threads=1)
    nearby.ask("broken")
    nearby.ask("sound")
    assert seen.wait(10)
    nearby.stop()


def test_agents_that_come_together_do_not_ask_again_together():
    async def first_waits() -> list[float]:
        return [live.Looks(object(), "north").within_s(25.0) for _ in range(200)]

    waits = asyncio.run(first_waits())
    assert min(waits) >= live.SOONEST_S
    assert max(waits) <= 25.0
    assert max(waits) - min(waits) > 10.0


def test_a_wait_that_found_nothing_is_followed_by_whole_ones_and_a_short_one_is_not_cut():
    async def waits() -> tuple[float, float]:
        looks = live.Looks("agent", "north")
        short = looks.within_s(2.0)
        looks.begin()
        looks.ended(found=False)
        return short, looks.within_s(25.0)

    assert asyncio.run(waits()) == (2.0, 25.0)
