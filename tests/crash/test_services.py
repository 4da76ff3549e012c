"""The services that a scaled-out portal leans on go away and come back, lose what they held, or are there twice."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.crash.journeys import ONCE, ends_undisturbed, is_open
from tests.crash.processes import Supervised
from tests.crash.scratch import Scratch
from tests.services import Postgres, Redis

pytestmark = [pytest.mark.slow, pytest.mark.services]
AWAY_S = 3.0


def under_way(scratch: Scratch) -> str:
    """A run with round 1 open and every bank ready to send."""
    scratch.gate("send")
    run = scratch.propose(scratch.plan())
    scratch.wait(run, is_open)
    return run


def test_a_run_outlives_redis(split: Scratch, redis: Redis):
    run, deaths = under_way(split), split.deaths
    redis.kill()
    split.release()
    time.sleep(AWAY_S)
    redis.start()
    ends_undisturbed(split, run)
    split.check()
    assert split.deaths == deaths


def test_updates_are_taken_while_redis_is_away(split: Scratch, redis: Redis):
    run = under_way(split)
    redis.kill()
    try:
        split.release()
        split.wait(run, lambda now: set(now["phases"].values()) <= {"received", "accepted"} or len(now["rounds"]) > 1)
    finally:
        redis.start()
    ends_undisturbed(split, run)
    split.check()


def test_a_broker_that_forgets_everything_costs_a_second(split: Scratch, redis: Redis):
    forgetting = threading.Event()

    def forget() -> None:
        while not forgetting.wait(0.05):
            redis.forget()

    thread = threading.Thread(target=forget, daemon=True)
    thread.start()
    try:
        ends_undisturbed(split, split.propose(split.plan()))
    finally:
        forgetting.set()
        thread.join()
    split.check()


def test_a_run_outlives_its_database(split: Scratch, postgres: Postgres):
    run, deaths = under_way(split), split.deaths
    postgres.kill(signal.SIGQUIT)
    split.release()
    time.sleep(AWAY_S)
    postgres.start()
    ends_undisturbed(split, run)
    split.check()
    assert split.deaths == deaths


def test_two_workers_race_and_nothing_happens_twice(split: Scratch):
    second = Supervised(split.nursery, "worker-2", ("worker", "-P", "threads", "-c", "4", "-l", "WARNING", "-n", "two@%h"), {})
    second.up()
    try:
        for _ in range(3):
            run = split.propose(split.plan())
            ends_undisturbed(split, run)
            assert split.console("kinds", run).count("version_published") == len(ONCE) + 1
    finally:
        second.down()
    split.check()
