"""Rounds that come to nothing, and the end of a run after its last version."""

from __future__ import annotations

from django.db import transaction

from audit.services import anchor
from rounds import live
from rounds.clock import now
from rounds.lifecycle import WORKING, Phase, RoundEvent, RoundState, RunEvent, RunState
from rounds.models import ModelVersion, Round, Run, Seat
from rounds.selectors.metrics import selected_version
from rounds.services.moves import hint_after_commit, lock_round, lock_run, move_round, move_run, record
from rounds.services.opening import begin_closing, open_round
from rounds.services.pooling import pool_version
from rounds.services.registry import register


def _abandoned(round_: Round, was: RoundState, reason: str) -> bool:
    if round_.state != was or not move_round(round_, RoundEvent.ABANDON, reason=reason):
        return False
    record(round_.run, "round_abandoned", {"round": round_.number, "attempt": round_.attempt, "reason": reason})
    return True


def _pause(run: Run, reason: str) -> None:
    move_run(run, RunEvent.PAUSE, reason=reason)
    record(run, "run_paused", {"reason": reason})


@transaction.atomic(durable=True)
def abandon_round(*, round_: Round, reason: str, attempts: int = 3) -> bool:
    """Give up an attempt and open the next one; after ``attempts`` the run pauses and says why."""
    round_ = lock_round(round_)
    if not _abandoned(round_, RoundState.OPEN, reason):
        return False
    run = round_.run
    if not run.is_async:
        round_.participations.filter(phase__in=WORKING).update(phase=Phase.DROPPED)
    if run.state != RunState.RUNNING or round_.only_counts:
        pass  # a stopped run opens nothing, and the result does not wait for a second closing evaluation
    elif round_.attempt >= attempts:
        _pause(run, reason)
    else:
        open_round(run=run, number=round_.number, attempt=round_.attempt + 1, base=round_.base)
    hint_after_commit(run)
    return True


@transaction.atomic(durable=True)
def give_up_round(*, round_: Round, reason: str) -> bool:
    """No version can come of a closed round: it is abandoned, and the run pauses until a person has decided."""
    round_ = lock_round(round_)
    if not _abandoned(round_, RoundState.AGGREGATING, reason):
        return False
    run = round_.run
    if run.state == RunState.RUNNING and not round_.only_counts:
        _pause(run, reason)
    hint_after_commit(run)
    return True


@transaction.atomic(durable=True)
def end_early(*, round_: Round, reason: str) -> bool:
    """Async: no more updates can come. The open buffer is given up and the last version is evaluated."""
    round_ = lock_round(round_)
    if not _abandoned(round_, RoundState.OPEN, reason):
        return False
    begin_closing(round_.run)
    hint_after_commit(round_.run)
    return True


@transaction.atomic(durable=True)
def finish_run(*, run: Run) -> ModelVersion:
    """Choose the result and end the run; every bank is asked to fetch it."""
    run = lock_run(run.pk)
    pool_version(run.last_version)
    version = selected_version(run)
    move_run(run, RunEvent.FINISH, selected=version, ended_at=now(), deadline_at=None, reason="")
    register(version=version)
    record(run, "run_finished", {"selected": version.number, "digest": version.digest,
                                 "select": run.plan.document.schedule.select})
    anchor(chain=run.chain, into=run.plan.project.chain)
    slugs = list(run.seats.filter(state=Seat.State.SEATED).values_list("institution__slug", flat=True))
    transaction.on_commit(lambda: live.call_to_work(slugs))
    return version
