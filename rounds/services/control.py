"""What an administrator may do to a run under way, each with a reason that goes on the ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from clientagent.wire.errors import IllegalMove, Malformed, NotFound
from institutions.models import Institution
from rounds import crashing, live
from rounds.clock import now, utc
from rounds.lifecycle import COHORT_LIVE, WORKING, Phase, RoundEvent, RoundState, RunEvent
from rounds.models import Participation, Round, Run, Seat
from rounds.services.cohorts import require_may_drop
from rounds.services.moves import actor_of, hint_after_commit, lock_run, move_round, move_run, record
from rounds.services.opening import open_round


@transaction.atomic(durable=True)
def stop_run(*, run: Run, user: Any, reason: str) -> Run:
    """End a run for good. Its versions and history stay. Raises ``IllegalMove``."""
    run = lock_run(run.pk)
    _require_reason(reason)
    move_run(run, RunEvent.STOP, reason=reason, ended_at=now(), deadline_at=None)
    for round_ in run.rounds.exclude(state__in=(RoundState.PUBLISHED, RoundState.ABANDONED)):
        move_round(round_, RoundEvent.ABANDON, reason=reason)
        round_.participations.filter(phase__in=WORKING).update(phase=Phase.DROPPED)
    record(run, "run_stopped", {"reason": reason}, actor=actor_of(user))
    return run


@transaction.atomic(durable=True)
def pause_run(*, run: Run, user: Any, reason: str) -> Run:
    """Let the open round stand and open no other; updates under way are still taken. Raises ``IllegalMove``."""
    run = lock_run(run.pk)
    _require_reason(reason)
    move_run(run, RunEvent.PAUSE, reason=reason)
    record(run, "run_paused", {"reason": reason}, actor=actor_of(user))
    return run


@transaction.atomic(durable=True)
def resume_run(*, run: Run, user: Any, reason: str) -> Run:
    """Go on where the run stood: the open round gets its full time anew, or the next attempt opens. Raises ``IllegalMove``."""
    run = lock_run(run.pk)
    _require_reason(reason)
    move_run(run, RunEvent.RESUME, reason="")
    record(run, "run_resumed", {"reason": reason}, actor=actor_of(user))
    last = run.rounds.select_related("base").order_by("number", "attempt").last()
    until = now() + timedelta(seconds=run.plan.document.schedule.deadline_s)
    if run.closing_at is not None:
        Run.objects.filter(pk=run.pk).update(deadline_at=until)
    if last is not None and last.state == RoundState.OPEN:
        Round.objects.filter(pk=last.pk, state=RoundState.OPEN).update(deadline_at=until)
        last.cohorts.filter(stage__in=COHORT_LIVE).update(deadline_at=now() + run.plan.document.stage_timeout)
    elif run.closing_at is not None:
        pass  # nobody trains any more
    elif last is None or last.state == RoundState.PUBLISHED:
        base = run.last_version
        open_round(run=run, number=base.number + 1, attempt=1, base=base)
    elif last.state == RoundState.ABANDONED:
        open_round(run=run, number=last.number, attempt=last.attempt + 1, base=last.base)
    slugs = list(run.seats.filter(state=Seat.State.SEATED).values_list("institution__slug", flat=True))
    transaction.on_commit(lambda: live.call_to_work(slugs))
    return run


@transaction.atomic(durable=True)
def extend_deadline(*, run: Run, seconds: int, user: Any, reason: str) -> Run:
    """Give the open round, or the stage that the run is in, more time. Raises ``IllegalMove``."""
    run = lock_run(run.pk)
    _require_reason(reason)
    if not 1 <= seconds <= 30 * 86_400:
        raise Malformed(expected="between 1 second and 30 days", got=f"{seconds} seconds")
    more = timedelta(seconds=seconds)
    round_ = run.rounds.filter(state=RoundState.OPEN).first()
    if round_ is not None:
        round_.deadline_at += more
        round_.save(update_fields=["deadline_at"])
        round_.cohorts.filter(stage__in=COHORT_LIVE).update(deadline_at=F("deadline_at") + more)
        until = round_.deadline_at
    elif run.deadline_at is not None:
        run.deadline_at += more
        run.save(update_fields=["deadline_at"])
        until = run.deadline_at
    else:
        raise IllegalMove(expected="a run that waits for somebody", got=run.state)
    record(
        run, "deadline_extended", {"seconds": seconds, "deadline_utc": utc(until), "reason": reason}, actor=actor_of(user)
    )
    hint_after_commit(run)
    return run


@transaction.atomic(durable=True)
def drop_bank(*, run: Run, institution: Institution, user: Any, reason: str) -> Participation:
    """Go on without a bank for the rest of the open round. Raises ``NotFound`` and ``IllegalMove``.

    An update of it that has come already is left out. Async: it is out with what it works on, from whichever version, and keeps
    what it brought before.
    """
    run = lock_run(run.pk)
    _require_reason(reason)
    round_ = run.rounds.select_for_update(no_key=True).filter(state=RoundState.OPEN).first()
    participation = _place_of(institution, round_) if round_ is not None else None
    if round_ is None or participation is None:
        raise NotFound(expected="a bank in the open round", got=institution.slug)
    require_may_drop(round_, institution)
    problem = {"code": "dropped_by_administrator", "expected": "", "got": reason, "action": ""}
    rows = Participation.objects.filter(pk=participation.pk, phase__in=(*WORKING, Phase.RECEIVED))
    if rows.update(phase=Phase.DROPPED, problem=problem) != 1:
        raise IllegalMove(expected="a bank that still works on this round", got=participation.phase)
    crashing.moving("phase:dropped")
    record(
        run, "bank_dropped",
        {"round": round_.number, "attempt": round_.attempt, "institution": institution.slug, "reason": reason},
        actor=actor_of(user),
    )
    hint_after_commit(run)
    return participation


def _place_of(institution: Institution, round_: Round) -> Participation | None:
    """A bank's work under way, or else the last that it did for this round."""
    rows = Participation.objects.filter(institution=institution)
    reach = rows.filter(round__run=round_.run_id) if round_.run.is_async else rows.filter(round=round_)
    return reach.filter(phase__in=WORKING).first() or rows.filter(round=round_).order_by("-slot").first()


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Malformed(expected="a reason for the ledger", got="none")


