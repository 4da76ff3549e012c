"""Moving a run or a round: the table decides what is legal, a guarded UPDATE decides who was first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from audit.services import append
from clientagent.wire.errors import IllegalMove
from rounds import crashing, live
from rounds.clock import now
from rounds.engine.wake import poke
from rounds.lifecycle import (
    COHORT_LIVE,
    RUN_ENDED,
    CohortEvent,
    CohortStage,
    RoundEvent,
    RoundState,
    RunEvent,
    RunState,
    next_cohort_stage,
    next_round_state,
    next_run_state,
)
from rounds.models import Cohort, Round, Run


def hold_run(run_id: Any) -> None:
    """Lock a run's row without reading it; nothing happens where there is none."""
    list(Run.objects.select_for_update(no_key=True).filter(pk=run_id).values_list("pk"))


def lock_run(run_id: Any) -> Run:
    """The run's row, locked until this transaction ends. Raises ``Run.DoesNotExist``.

    Every verb takes locks in one order, so that no two wait for each other: run, its rounds, what hangs on them, chains' heads.
    """
    rows = Run.objects.select_for_update(of=("self",), no_key=True).select_related("plan__project")
    return rows.defer("preprocessing", "plan__signed").get(pk=run_id)


def lock_round(round_: Round) -> Round:
    """The round's row as it is now, locked behind its run's."""
    run = lock_run(round_.run_id)
    fresh = Round.objects.select_for_update(of=("self",), no_key=True).select_related("base").get(pk=round_.pk)
    fresh.run = run
    return fresh


def move_run(run: Run, event: RunEvent, **changes: Any) -> None:
    """Move a run, or raise ``IllegalMove``: by the table, or because somebody moved it first."""
    was = RunState(run.state)
    to = next_run_state(was, event)
    if Run.objects.filter(pk=run.pk, state=was).update(state=to, **changes) != 1:
        raise IllegalMove(expected=f"the run in state {was}", got="a run that somebody moved first")
    crashing.moving(f"run:{was}:{event}")
    run.state = to
    for name, value in changes.items():
        setattr(run, name, value)
    if to in RUN_ENDED:  # a cohort that summed statistics ends with its run
        for cohort in Cohort.objects.filter(run=run, stage__in=COHORT_LIVE):
            move_cohort(cohort, CohortEvent.FAIL)
    hint_after_commit(run)


def move_round(round_: Round, event: RoundEvent, **changes: Any) -> bool:
    """Move a round; False when somebody was first. Raises ``IllegalMove`` when the table forbids it.

    A round that is given up takes its cohort along.
    """
    was = RoundState(round_.state)
    to = next_round_state(was, event)
    if Round.objects.filter(pk=round_.pk, state=was).update(state=to, **changes) != 1:
        return False
    crashing.moving(f"round:{was}:{event}")
    round_.state = to
    for name, value in changes.items():
        setattr(round_, name, value)
    if to == RoundState.ABANDONED:
        for cohort in Cohort.objects.filter(round=round_, stage__in=COHORT_LIVE):
            move_cohort(cohort, CohortEvent.FAIL)
    return True


def move_cohort(cohort: Cohort, event: CohortEvent, **changes: Any) -> bool:
    """Move a cohort; False when somebody was first. Raises ``IllegalMove`` when the table forbids it."""
    was = CohortStage(cohort.stage)
    to = next_cohort_stage(was, event)
    if to not in COHORT_LIVE:
        changes["ended_at"] = now()
    if Cohort.objects.filter(pk=cohort.pk, stage=was).update(stage=to, **changes) != 1:
        return False
    crashing.moving(f"cohort:{was}:{event}")
    cohort.stage = to
    return True


def record(run: Run, kind: str, body: dict[str, Any], *, actor: str = "portal") -> Any:
    """One entry on the run's own chain."""
    return append(chain=run.chain, kind=kind, actor=actor, body=body)


def hint_after_commit(run: Run, *, moves: bool = True) -> None:
    """Tell the browsers to look again, once this transaction is true, and the engine too where that may move the run (``moves``)."""
    hint = _Hint(str(run.pk), moves)
    if all(waiting != hint for _, waiting, *_ in transaction.get_connection().run_on_commit):
        transaction.on_commit(hint)


@dataclass(frozen=True)
class _Hint:
    """Equal hints of one transaction are one."""

    run_id: str
    moves: bool

    def __call__(self) -> None:
        live.announce(self.run_id)
        if self.moves:
            poke(self.run_id)


def actor_of(user: Any) -> str:
    """How a person is named on the ledger."""
    return f"user:{user.email or user.get_username()}" if user is not None else "portal"


def actor_of_agent(agent_id: Any) -> str:
    return f"agent:{agent_id}"

