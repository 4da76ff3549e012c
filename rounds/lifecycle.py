"""All states of runs, rounds, participations, cohorts and registered versions, and every legal move. Nothing else decides a move."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise

from clientagent.wire.errors import IllegalMove


def choices(states: Iterable[StrEnum]) -> list[tuple[str, str]]:
    """The values that a column of states may hold."""
    return [(str(state), str(state)) for state in states]


class RunState(StrEnum):
    DRAFT = "draft"
    PROPOSED = "proposed"
    PREPARING = "preparing"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class RunEvent(StrEnum):
    PROPOSE = "propose"
    PREPARE = "prepare"
    BEGIN = "begin"
    PAUSE = "pause"
    RESUME = "resume"
    FINISH = "finish"
    STOP = "stop"
    FAIL = "fail"


class RoundState(StrEnum):
    OPEN = "open"
    CLOSING = "closing"
    AGGREGATING = "aggregating"
    PUBLISHED = "published"
    ABANDONED = "abandoned"


class RoundEvent(StrEnum):
    CLOSE = "close"
    CLAIM = "claim"
    PUBLISH = "publish"
    ABANDON = "abandon"


class Phase(StrEnum):
    INVITED = "invited"
    PULLED = "pulled"
    TRAINING = "training"
    READY = "ready"
    UPLOADING = "uploading"
    RECEIVED = "received"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    LATE = "late"
    DROPPED = "dropped"


class CohortStage(StrEnum):
    """What a cohort's banks are awaited to send, in order, and its two ends."""

    KEYS = "keys"
    SHARES = "shares"
    MASKED = "masked"
    CONSISTENCY = "consistency"
    UNMASK = "unmask"
    DONE = "done"
    FAILED = "failed"


class CohortEvent(StrEnum):
    CLOSE = "close"
    FAIL = "fail"


class Status(StrEnum):
    """Of a version in its project's registry."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"
    RETIRED = "retired"


class StatusEvent(StrEnum):
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    SUPERSEDE = "supersede"
    RETIRE = "retire"
    REINSTATE = "reinstate"


_R, _E = RunState, RunEvent
RUN_MOVES: dict[tuple[RunState, RunEvent], RunState] = {
    (_R.DRAFT, _E.PROPOSE): _R.PROPOSED,
    (_R.DRAFT, _E.STOP): _R.STOPPED,
    (_R.PROPOSED, _E.PREPARE): _R.PREPARING,
    (_R.PROPOSED, _E.STOP): _R.STOPPED,
    (_R.PROPOSED, _E.FAIL): _R.FAILED,
    (_R.PREPARING, _E.BEGIN): _R.RUNNING,
    (_R.PREPARING, _E.STOP): _R.STOPPED,
    (_R.PREPARING, _E.FAIL): _R.FAILED,
    (_R.RUNNING, _E.PAUSE): _R.PAUSED,
    (_R.RUNNING, _E.FINISH): _R.FINISHED,
    (_R.RUNNING, _E.STOP): _R.STOPPED,
    (_R.RUNNING, _E.FAIL): _R.FAILED,
    (_R.PAUSED, _E.RESUME): _R.RUNNING,
    (_R.PAUSED, _E.STOP): _R.STOPPED,
}

_S, _V = RoundState, RoundEvent
ROUND_MOVES: dict[tuple[RoundState, RoundEvent], RoundState] = {
    (_S.OPEN, _V.CLOSE): _S.CLOSING,
    (_S.OPEN, _V.ABANDON): _S.ABANDONED,
    (_S.CLOSING, _V.CLAIM): _S.AGGREGATING,
    (_S.CLOSING, _V.ABANDON): _S.ABANDONED,
    (_S.AGGREGATING, _V.CLAIM): _S.AGGREGATING,  # a lost worker's round is claimed again when its lease has run out
    (_S.AGGREGATING, _V.PUBLISH): _S.PUBLISHED,
    (_S.AGGREGATING, _V.ABANDON): _S.ABANDONED,
}

COHORT_LIVE = (
    CohortStage.KEYS, CohortStage.SHARES, CohortStage.MASKED, CohortStage.CONSISTENCY, CohortStage.UNMASK,
)  # fmt: skip
COHORT_MOVES: dict[tuple[CohortStage, CohortEvent], CohortStage] = {
    **{(was, CohortEvent.CLOSE): to for was, to in pairwise((*COHORT_LIVE, CohortStage.DONE))},
    **{(was, CohortEvent.FAIL): CohortStage.FAILED for was in COHORT_LIVE},
}

WORKING = (Phase.INVITED, Phase.PULLED, Phase.TRAINING, Phase.READY, Phase.UPLOADING, Phase.REJECTED)
"""Phases from which an update may still come."""
GONE = (Phase.LATE, Phase.DROPPED)
PHASE_MOVES: dict[Phase, tuple[Phase, ...]] = {
    # an agent that restarted begins again, so work moves freely among its phases
    **dict.fromkeys(WORKING, (Phase.PULLED, Phase.TRAINING, Phase.READY, Phase.UPLOADING, Phase.RECEIVED, Phase.REJECTED, *GONE)),
    Phase.RECEIVED: (Phase.ACCEPTED, Phase.DROPPED),
    Phase.ACCEPTED: (),
    Phase.LATE: (),
    Phase.DROPPED: (Phase.LATE,),
}

STATUS_MOVES: dict[tuple[Status, StatusEvent], Status] = {
    (Status.CANDIDATE, StatusEvent.PROMOTE): Status.CHAMPION,
    (Status.CANDIDATE, StatusEvent.RETIRE): Status.RETIRED,
    (Status.CHAMPION, StatusEvent.SUPERSEDE): Status.RETIRED,
    (Status.CHAMPION, StatusEvent.RETIRE): Status.RETIRED,
    (Status.RETIRED, StatusEvent.ROLL_BACK): Status.CHAMPION,
    (Status.RETIRED, StatusEvent.REINSTATE): Status.CANDIDATE,
}

RUN_OPEN = (RunState.PROPOSED, RunState.PREPARING, RunState.RUNNING, RunState.PAUSED)
RUN_ENDED = (RunState.FINISHED, RunState.STOPPED, RunState.FAILED)


def next_run_state(state: RunState, event: RunEvent) -> RunState:
    """Where an event leads. Raises ``IllegalMove`` and changes nothing."""
    try:
        return RUN_MOVES[state, event]
    except KeyError:
        raise IllegalMove(expected=_legal(RUN_MOVES, event), got=f"{event} in state {state}") from None


def next_round_state(state: RoundState, event: RoundEvent) -> RoundState:
    """Where an event leads. Raises ``IllegalMove`` and changes nothing."""
    try:
        return ROUND_MOVES[state, event]
    except KeyError:
        raise IllegalMove(expected=_legal(ROUND_MOVES, event), got=f"{event} in state {state}") from None


def next_cohort_stage(stage: CohortStage, event: CohortEvent) -> CohortStage:
    """Where an event leads. Raises ``IllegalMove`` and changes nothing."""
    try:
        return COHORT_MOVES[stage, event]
    except KeyError:
        raise IllegalMove(expected=_legal(COHORT_MOVES, event), got=f"{event} in stage {stage}") from None


def next_status(status: Status, event: StatusEvent) -> Status:
    """Where an event leads. Raises ``IllegalMove`` and changes nothing."""
    try:
        return STATUS_MOVES[status, event]
    except KeyError:
        raise IllegalMove(expected=_legal(STATUS_MOVES, event), got=f"{event} in status {status}") from None


def _legal(moves, event: StrEnum) -> str:  # type: ignore[no-untyped-def]
    states = sorted({str(was) for was, what in moves if what == event})
    return f"{event} from {' or '.join(states)}"
