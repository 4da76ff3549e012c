"""Several processes make the same guarded move at one instant: one of them was first."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash.processes import Console
from tests.crash.scratch import Scratch


def one_wins(scratch: Scratch) -> None:
    """The portal's own engine is down meanwhile."""
    scratch.gate("send", "south")
    run = scratch.propose(scratch.plan())
    scratch.wait(run, lambda now: list(now["phases"].values()).count("received") == 2)
    scratch.engine.down()
    consoles = [Console(scratch.nursery, f"racer-{i}") for i in range(4)]
    try:
        round_ = scratch.look(run)["round_pk"]
        for verb in ("close_round", "claim_round"):
            at = time.time() + 0.5
            with ThreadPoolExecutor(len(consoles)) as pool:
                won = list(pool.map(lambda console, verb=verb, at=at: console("race", verb, round_, at), consoles))
            assert won.count(True) == 1
        assert scratch.look(run)["lease_owner"].startswith("racer-")
    finally:
        for console in consoles:
            console.end()
    scratch.console("act", "stop_run", run, reason="the race is over")
    scratch.engine.up()
    scratch.wait_until_up()
    scratch.release()
    scratch.rest()
    scratch.check()


@pytest.mark.slow
def test_one_process_wins_on_sqlite(embedded):
    one_wins(embedded)


@pytest.mark.slow
@pytest.mark.services
def test_one_process_wins_on_postgresql(split):
    one_wins(split)
