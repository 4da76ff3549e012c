"""Killed at every transition: the same round goes on, nothing acknowledged is lost, and the bits are those of an undisturbed run."""

from __future__ import annotations

import pytest

from rounds.crashing import INSTANTS, MOVES
from tests.crash.journeys import JOURNEYS, REACHED, UNREACHED, journey_of
from tests.crash.scratch import Scratch

HANDFUL = (
    "run:draft:propose:after", "run:preparing:begin:before", "update:kept", "phase:received:after", "round:open:close:before",
    "round:closing:claim:after", "version:kept", "round:aggregating:publish:after",
)


def die_at(scratch: Scratch, point: str) -> None:
    deaths = scratch.deaths
    journey_of(point)(scratch, point)
    assert scratch.disarm() == []
    scratch.check()
    assert scratch.deaths >= deaths


def test_no_legal_move_lacks_its_journey():
    assert set(JOURNEYS) | set(UNREACHED) == {*MOVES, *INSTANTS}
    assert not set(JOURNEYS) & set(UNREACHED)


def test_one_run_outlives_a_handful_of_kills(embedded):
    embedded.behave(phases=("training",))
    embedded.arm(*HANDFUL)
    now = embedded.finish(embedded.propose(embedded.plan()))
    assert embedded.disarm() == []
    assert now["rounds"] == [(1, 1, "published"), (2, 1, "published")]
    assert now["selected"] == embedded.references["plain"]
    embedded.check()


@pytest.mark.slow
@pytest.mark.parametrize("point", REACHED)
def test_the_portal_dies_at(embedded, point):
    die_at(embedded, point)


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.parametrize("point", REACHED)
def test_web_or_worker_dies_at(split, point):
    die_at(split, point)
