"""Async mode: a bank that is free takes the newest version and trains; it never waits for another."""

from __future__ import annotations

from functools import lru_cache

from django.db import transaction
from django.db.models import Max

from institutions.authentication import AgentIdentity
from rounds.lifecycle import WORKING, Phase, RoundState, RunState
from rounds.models import Participation, Plan, Round, Seat
from rounds.orders import work_order
from rounds.services.buffer import counted_in
from rounds.services.moves import hint_after_commit, lock_run

LIVE = (RoundState.OPEN, RoundState.CLOSING, RoundState.AGGREGATING)


def take_slot(*, identity: AgentIdentity) -> Participation | None:
    """The next piece of work of this agent in an async run, made on demand; None when there is none for it."""
    seats = Seat.objects.filter(
        institution_id=identity.institution_id, agent_id=identity.agent_id, state=Seat.State.SEATED,
        run__state=RunState.RUNNING, run__closing_at=None,
    )
    for seat_id, plan_hash in seats.order_by("pk").values_list("pk", "run__plan__hash"):
        if _is_async(plan_hash):
            seats = Seat.objects.select_related("run__plan__project", "institution")
            seat = seats.defer("statistics", "run__preprocessing", "run__plan__signed").get(pk=seat_id)
            if slot := _take(seat):
                return slot
    return None


@lru_cache(maxsize=1024)
def _is_async(plan_hash: str) -> bool:
    """A plan never changes; most looks are of sync runs and end here."""
    return Plan.objects.only("text").get(hash=plan_hash).document.schedule.mode == "async"


@transaction.atomic(durable=True)
def _take(seat: Seat) -> Participation | None:
    run = lock_run(seat.run_id)
    live = Round.objects.select_related("base").defer("aggregation", "base__pooled").filter(run=run, state__in=LIVE).first()
    mine = Participation.objects.filter(round__run=run, institution_id=seat.institution_id)
    if live is None or run.state != RunState.RUNNING or run.closing_at is not None or mine.filter(phase__in=WORKING).exists():
        return None
    if mine.filter(round__number=live.number, phase=Phase.DROPPED).exists():
        return None  # it refused this base; the next version is another matter
    if live.state != RoundState.OPEN or counted_in(live).count() >= live.needed:
        return None  # the next version is a moment away: better fresh than stale from the start
    if mine.exclude(update=None).count() >= run.plan.document.max_updates_per_bank:
        return None
    taken = mine.filter(round__number=live.number).aggregate(last=Max("slot"))["last"] or 0
    slot = Participation(
        round=live, seat=seat, institution=seat.institution, slot=taken + 1, epochs=run.plan.document.training.epochs,
        bytes_total=live.base.bytes,
    )
    slot.order = work_order(run, seat, round_=live, base=live.base, kind="train", slot=slot.slot)
    slot.save()
    hint_after_commit(run, moves=False)
    return slot
