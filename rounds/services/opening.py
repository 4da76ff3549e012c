"""The beginning of a round, and of the evaluation that follows the last."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from rounds import live
from rounds.clock import now, utc
from rounds.lifecycle import WORKING, Phase
from rounds.models import ModelVersion, Participation, Round, Run, Seat
from rounds.orders import work_order
from rounds.services.buffer import take_in
from rounds.services.masked import is_masked
from rounds.services.moves import hint_after_commit, record


def open_round(*, run: Run, number: int, attempt: int, base: ModelVersion, only_counts: bool = False) -> Round:
    """Open an attempt at a round, in the caller's transaction.

    Sync: with one signed WorkOrder for every bank on the roster. Async: banks take their orders when they are free.
    ``only_counts``: nobody trains; the banks' counts of the base are summed under masks.
    """
    plan = run.plan.document
    seats = list(run.seats.filter(state=Seat.State.SEATED).select_related("institution"))
    opened = now()
    round_ = Round.objects.create(
        run=run, number=number, attempt=attempt, base=base, opened_at=opened,
        needed=plan.schedule.buffer if run.is_async else plan.needed(len(seats)),
        deadline_at=opened + timedelta(seconds=plan.schedule.deadline_s), only_counts=only_counts,
    )
    if not run.is_async:
        _invite(round_, seats)
    taken_in = 0 if only_counts else take_in(round_)
    record(run, "closing_evaluation_opened" if only_counts else "round_opened", {
        "round": number, "attempt": attempt, "base_number": base.number, "base_digest": base.digest, "needed": round_.needed,
        "deadline_utc": utc(round_.deadline_at), "taken_in": taken_in,
    })
    slugs = [seat.institution.slug for seat in seats]
    transaction.on_commit(lambda: live.call_to_work(slugs))
    hint_after_commit(run)
    return round_


def _invite(round_: Round, seats: list[Seat]) -> None:
    run, base = round_.run, round_.base
    Participation.objects.bulk_create(
        Participation(
            round=round_, seat=seat, institution=seat.institution, slot=round_.attempt, bytes_total=base.bytes,
            order=work_order(run, seat, round_=round_, base=base, kind="evaluate" if round_.only_counts else "train"),
            epochs=0 if round_.only_counts else run.plan.document.training.epochs,
        )
        for seat in seats
    )


def begin_closing(run: Run) -> None:
    """The last version is there; its evaluation is asked for, and nobody trains any more."""
    Participation.objects.filter(round__run=run, phase__in=WORKING).update(phase=Phase.DROPPED)
    deadline = now() + timedelta(seconds=run.plan.document.schedule.deadline_s)
    Run.objects.filter(pk=run.pk).update(closing_at=now(), deadline_at=deadline)
    if is_masked(run) and run.plan.document.evaluation.every:
        last = run.last_version
        open_round(run=run, number=last.number + 1, attempt=1, base=last, only_counts=True)
        return
    slugs = list(run.seats.filter(state=Seat.State.SEATED).values_list("institution__slug", flat=True))
    transaction.on_commit(lambda: live.call_to_work(slugs))
