"""Every state and event: either the table leads somewhere, or the move is refused and nothing changes."""

from __future__ import annotations

import itertools

import pytest

from clientagent.wire.errors import IllegalMove
from clientagent.wire.masking import Stage
from rounds.lifecycle import (
    COHORT_LIVE,
    COHORT_MOVES,
    PHASE_MOVES,
    ROUND_MOVES,
    RUN_ENDED,
    RUN_MOVES,
    CohortEvent,
    CohortStage,
    Phase,
    RoundEvent,
    RoundState,
    RunEvent,
    RunState,
    next_cohort_stage,
    next_round_state,
    next_run_state,
)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(RunState, RunEvent)))
def test_a_run_moves_by_the_table_or_not_at_all(state, event):
    if (state, event) in RUN_MOVES:
        assert next_run_state(state, event) == RUN_MOVES[state, event]
    else:
        with pytest.raises(IllegalMove, match=f"{event} in state {state}"):
            next_run_state(state, event)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(RoundState, RoundEvent)))
def test_a_round_moves_by_the_table_or_not_at_all(state, event):
    if (state, event) in ROUND_MOVES:
        assert next_round_state(state, event) == ROUND_MOVES[state, event]
    else:
        with pytest.raises(IllegalMove):
            next_round_state(state, event)


@pytest.mark.parametrize(("stage", "event"), list(itertools.product(CohortStage, CohortEvent)))
def test_a_cohort_moves_by_the_table_or_not_at_all(stage, event):
    if (stage, event) in COHORT_MOVES:
        assert next_cohort_stage(stage, event) == COHORT_MOVES[stage, event]
    else:
        with pytest.raises(IllegalMove):
            next_cohort_stage(stage, event)


def test_a_cohort_has_the_stages_of_the_protocol():
    assert [str(stage) for stage in (*COHORT_LIVE, CohortStage.DONE)] == list(Stage)


def test_what_has_ended_moves_no_more():
    assert not [move for move in COHORT_MOVES if move[0] not in COHORT_LIVE]
    assert not [move for move in RUN_MOVES if move[0] in RUN_ENDED]
    assert not [move for move in ROUND_MOVES if move[0] in (RoundState.PUBLISHED, RoundState.ABANDONED)]


def test_every_open_run_can_be_stopped():
    for state in RunState:
        if state not in RUN_ENDED:
            assert (state, RunEvent.STOP) in RUN_MOVES


def test_every_state_is_reached_from_the_first():
    reached = {RunState.DRAFT}
    while more := {to for (was, _), to in RUN_MOVES.items() if was in reached} - reached:
        reached |= more
    assert reached == set(RunState)


def test_every_phase_says_where_it_leads():
    assert set(PHASE_MOVES) == set(Phase)
    assert PHASE_MOVES[Phase.ACCEPTED] == ()
