"""Real agents are killed at every phase of their work and at every instant between a file, a request and a receipt."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from clientagent.faults import INSTANTS, Phase
from rounds.rehearsal.faults import Fault
from tests.crash.journeys import ONCE
from tests.crash.real import TRAINED, RealScratch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained() -> Iterator[RealScratch]:
    """A portal, three real agents, and the model that an undisturbed run ends in."""
    with tempfile.TemporaryDirectory(prefix="fedportal-agents-") as folder:
        scratch = RealScratch(Path(folder))
        try:
            scratch.open()
            scratch.references["trained"] = scratch.finish(scratch.propose(scratch.plan(TRAINED)))["selected"]
            yield scratch
        finally:
            scratch.close()


def ends_as_undisturbed(scratch: RealScratch) -> None:
    run = scratch.propose(scratch.plan(TRAINED))
    now = scratch.finish(run)
    assert now["rounds"] == ONCE
    assert now["selected"] == scratch.references["trained"]
    scratch.check_run(run)
    scratch.check()


def test_an_agent_dies_at_every_phase_and_instant(trained):
    deaths = [Fault("north", "all", instant, "kill") for instant in INSTANTS]
    deaths += [Fault(bank, str(n), phase, "kill") for bank in ("north", "south") for n in (1, 2) for phase in get_args(Phase)]
    trained.stop_agents()
    trained.start_agents(deaths)
    ends_as_undisturbed(trained)
    assert len(trained.deaths_of_agents) == len(deaths)


@pytest.mark.parametrize("seed", range(3))
def test_agents_and_portal_die_at_random_instants(trained, seed):
    rng, over = np.random.default_rng(seed), threading.Event()
    trained.stop_agents()
    trained.start_agents()
    victims = [lambda: trained.kill_agent("north"), lambda: trained.kill_agent("east"), trained.web.kill]

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
