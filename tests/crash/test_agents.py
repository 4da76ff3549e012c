"""Real agents are killed at every phase of their work and at every instant between a file, a request and a receipt."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from clientagent.faults import COHORT_STATEMENTS, INSTANTS, Phase
from rounds.rehearsal.faults import SECURE_PHASES, Fault
from tests.crash.journeys import ONCE
from tests.crash.real import TRAINED, RealScratch
from tests.crash.scratch import MASKED, SLUGS
from tests.services import Postgres, Redis

pytestmark = pytest.mark.slow
KINDS = {"trained": TRAINED, "masked": {**TRAINED, **MASKED}}
SECURE_INSTANTS = [name for name in INSTANTS if name.rpartition(":")[2] in COHORT_STATEMENTS]


@contextmanager
def opened(**services: str) -> Iterator[RealScratch]:
    """A portal, three real agents, and the model that an undisturbed run ends in."""
    with tempfile.TemporaryDirectory(prefix="fedportal-agents-") as folder:
        scratch = RealScratch(Path(folder), **services)
        try:
            scratch.open()
            for name, kind in KINDS.items():
                scratch.references[name] = scratch.finish(scratch.propose(scratch.plan(kind)))["selected"]
            yield scratch
        finally:
            scratch.close()


@pytest.fixture(scope="module")
def trained() -> Iterator[RealScratch]:
    with opened() as scratch:
        yield scratch


@pytest.fixture(scope="module")
def trained_apart(postgres: Postgres, redis: Redis) -> Iterator[RealScratch]:
    """With a web process and a worker, on PostgreSQL and Redis."""
    with opened(database=postgres.database("agents"), redis=redis.url) as scratch:
        yield scratch


def ends_as_undisturbed(scratch: RealScratch, kind: str = "trained") -> None:
    run = scratch.propose(scratch.plan(KINDS[kind]))
    now = scratch.finish(run)
    assert now["rounds"] == ONCE
    assert now["selected"] == scratch.references[kind]
    scratch.check_run(run)
    scratch.check()


def test_an_agent_dies_at_every_phase_and_instant(trained):
    plain = [phase for phase in get_args(Phase) if phase not in SECURE_PHASES]
    deaths = [Fault("north", "all", instant, "kill") for instant in INSTANTS if instant not in SECURE_INSTANTS]
    deaths += [Fault(bank, str(n), phase, "kill") for bank in ("north", "south") for n in (1, 2) for phase in plain]
    trained.stop_agents()
    trained.start_agents(deaths)
    ends_as_undisturbed(trained)
    assert len(trained.deaths_of_agents) == len(deaths)


def test_an_agent_dies_at_every_stage_and_instant_of_a_cohort(trained):
    deaths = [Fault("north", "all", instant, "kill") for instant in SECURE_INSTANTS]  # most: while statistics are summed
    deaths += [Fault("south", "1", instant, "kill") for instant in SECURE_INSTANTS]
    deaths += [Fault(bank, str(n), phase, "kill") for bank in ("north", "south") for n in (1, 2) for phase in SECURE_PHASES]
    trained.stop_agents()
    trained.start_agents(deaths)
    ends_as_undisturbed(trained, "masked")
    assert len(trained.deaths_of_agents) == len(deaths)
    kept = [path.name for slug in SLUGS for path in trained.home(slug).path.glob("runs/*/statistics-*")]
    assert kept == []  # what statistics were masked with is gone once the run has begun


@pytest.mark.parametrize("seed", range(3))
def test_agents_and_portal_die_at_random_instants(trained, seed):
    dies_at_random(trained, seed)


@pytest.mark.services
@pytest.mark.parametrize("seed", range(100, 102))
def test_agents_web_and_worker_die_at_random_instants(trained_apart, seed):
    """Real agents tell of their progress, which races with what is accepted."""
    dies_at_random(trained_apart, seed)


def dies_at_random(trained: RealScratch, seed: int) -> None:
    rng, over = np.random.default_rng(seed), threading.Event()
    trained.stop_agents()
    trained.start_agents()
    victims = [lambda: trained.kill_agent("north"), lambda: trained.kill_agent("east"), *(one.kill for one in trained.services)]

    def kill() -> None:
        for victim in rng.permutation(len(victims)):
            over.wait(rng.uniform(0.2, 2.0))
            victims[victim]()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        ends_as_undisturbed(trained)
    finally:
        over.set()
        killer.join()
