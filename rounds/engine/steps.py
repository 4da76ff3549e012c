"""Moves runs along. ``advance`` looks at the state, does what is due, and may be called by anybody, any number of times."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from django.db.models import Count

from audit.context import speaking_of
from clientagent.wire.errors import IllegalMove, Refusal, RingExceeded, ShareInvalid
from rounds import crashing, services
from rounds.algorithms.files import Overflowed
from rounds.clock import is_overdue, now
from rounds.engine import leases
from rounds.engine.aggregation import aggregate_round
from rounds.engine.stages import step_masked
from rounds.engine.summing import step_statistics
from rounds.engine.unmasking import open_counts
from rounds.lifecycle import RUN_OPEN, WORKING, Phase, RoundState, RunState
from rounds.models import Participation, Round, Run, Seat
from rounds.selectors.metrics import closing_evaluators
from rounds.services.buffer import counted_in
from rounds.services.leases import LEASE_S
from rounds.services.masked import is_masked
from rounds.services.updates import layout_for

logger = logging.getLogger(__name__)

RETRY_S = 2.0
"""When a round that could not be computed is tried again."""


_LARGE = ("manifest", "preprocessing", "plan__signed")
"""Documents of a run that a look at it does not need."""


def open_runs() -> dict[str, str]:
    """State of each run that is not over, by its id."""
    return {str(pk): state for pk, state in Run.objects.filter(state__in=RUN_OPEN).values_list("pk", "state")}


def advance(run_id: str) -> None:
    """Do everything that is due for this run now."""
    with speaking_of(run=run_id):
        _advance(run_id)


def _advance(run_id: str) -> None:
    while True:
        run = Run.objects.select_related("plan__project").defer(*_LARGE).filter(pk=run_id).order_by().first()
        if run is None or not _step(run, now()):
            return


def _step(run: Run, moment: datetime) -> bool:
    """One move, or False when nothing is due. Losing a race is no fault: the winner did it."""
    try:
        match run.state:
            case RunState.PROPOSED:
                return _step_proposed(run, moment)
            case RunState.PREPARING:
                return _step_preparing(run, moment)
            case RunState.RUNNING | RunState.PAUSED:
                return _step_running(run, moment)
    except IllegalMove:
        logger.info("run %s was moved by somebody else", run.pk)
    return False


# ------------------------------------------------------------------ before round 1
def _step_proposed(run: Run, moment: datetime) -> bool:
    seats = _seats(run)
    needed = run.plan.document.needed(len(seats))
    approved = [slug for slug, seat in seats.items() if seat.state == Seat.State.APPROVED]
    waiting = [slug for slug, seat in seats.items() if seat.state == Seat.State.INVITED]
    overdue = is_overdue(run.deadline_at, moment)
    if len(approved) + len(waiting) < needed or (overdue and len(approved) < needed):
        refused = [f"{slug} ({seat.reason or 'refused'})" for slug, seat in seats.items() if seat.state == Seat.State.REFUSED]
        reason = f"{len(approved)} of {len(seats)} banks approved and {needed} are needed. "
        reason += f"Refused: {', '.join(refused)}. " if refused else ""
        reason += f"No answer: {', '.join(waiting)}." if waiting else ""
        services.fail_run(run=run, reason=reason.strip(), code="plan_not_approved")
        return True
    if not waiting or overdue:
        services.prepare_run(run=run)
        return True
    return False


def _step_preparing(run: Run, moment: datetime) -> bool:
    plan = run.plan.document
    seats = _seats(run)
    counted = [slug for slug, seat in seats.items() if seat.state == Seat.State.COUNTED]
    waiting = [slug for slug, seat in seats.items() if seat.state == Seat.State.APPROVED]
    needed = max(plan.needed(len(seats)), plan.privacy.min_banks)
    absent = [name for name in plan.schedule.required if name not in counted and name not in waiting]
    overdue = is_overdue(run.deadline_at, moment)
    if waiting and not overdue and len(counted) + len(waiting) >= needed and not absent:
        return False
    if len(counted) < needed or absent:
        unfit = [f"{slug}: {seat.column} {seat.reason}" for slug, seat in seats.items() if seat.state == Seat.State.UNFIT]
        reason = f"{len(counted)} of {len(seats)} banks have data that fit and {needed} are needed. "
        reason += f"Unfit: {'; '.join(unfit)}. " if unfit else ""
        reason += f"No answer: {', '.join(waiting)}. " if waiting else ""
        services.fail_run(run=run, reason=reason.strip(), code="data_unfit")
        return True
    if plan.masks_statistics and (moved := step_statistics(run, moment)) is not None:
        return moved
    try:
        services.begin_run(run=run)
    except IllegalMove:
        raise
    except Refusal as refusal:
        services.fail_run(run=run, reason=refusal.sentence, code=refusal.code)
    return True


def _seats(run: Run) -> dict[str, Seat]:
    return {seat.institution.slug: seat for seat in run.seats.select_related("institution")}


# ------------------------------------------------------------------------- rounds
def _step_running(run: Run, moment: datetime) -> bool:
    round_ = run.rounds.select_related("base").defer("aggregation").order_by("-number", "-attempt").first()
    if round_ is None:
        return False
    round_.run = run
    match round_.state:
        case RoundState.OPEN:
            return _step_open(run, round_, moment)
        case RoundState.CLOSING:
            return compute(round_)
        case RoundState.AGGREGATING:
            return (is_overdue(round_.lease_until, moment) or _is_orphan(round_)) and compute(round_)
        case RoundState.PUBLISHED | RoundState.ABANDONED if round_.only_counts and run.state == RunState.RUNNING:
            services.finish_run(run=run)
            return True
        case RoundState.PUBLISHED | RoundState.ABANDONED if run.closing_at is not None and run.state == RunState.RUNNING:
            return _step_closing_evaluation(run, moment)
    return False


def _step_open(run: Run, round_: Round, moment: datetime) -> bool:
    if is_masked(run):
        return step_masked(run, round_, moment)
    return (_step_buffer if run.is_async else _step_together)(run, round_, moment)


def _step_buffer(run: Run, round_: Round, moment: datetime) -> bool:
    """Async: a full buffer makes a version; at the deadline, or when nobody may send more, what is there makes one."""
    count = counted_in(round_).count()
    overdue = is_overdue(round_.deadline_at, moment) and run.state == RunState.RUNNING
    if count >= round_.needed or (count and (overdue or _is_spent(run))):
        return services.close_round(round_=round_)
    if _is_spent(run) and run.state == RunState.RUNNING:
        return services.end_early(round_=round_, reason="every bank has sent as many updates as the plan allows")
    if overdue:
        return services.abandon_round(round_=round_, reason="deadline passed: no bank sent an update")
    return False


def _is_spent(run: Run) -> bool:
    """Nobody works on an update and nobody may begin another."""
    limit = run.plan.document.max_updates_per_bank
    rows = Participation.objects.filter(round__run=run)
    if rows.filter(phase__in=WORKING).exists():
        return False
    sent = dict(rows.exclude(update=None).values_list("institution_id").annotate(n=Count("pk")))
    seated = run.seats.filter(state=Seat.State.SEATED).values_list("institution_id", flat=True)
    return all(sent.get(institution_id, 0) >= limit for institution_id in seated)


def _step_together(run: Run, round_: Round, moment: datetime) -> bool:
    schedule = run.plan.document.schedule
    phases = dict(round_.participations.values_list("institution__slug", "phase"))
    received = [slug for slug, phase in phases.items() if phase == Phase.RECEIVED]
    working = [slug for slug, phase in phases.items() if phase in WORKING]
    overdue = is_overdue(round_.deadline_at, moment) and run.state == RunState.RUNNING
    missing = [slug for slug in schedule.required if slug not in received]
    enough = len(received) >= round_.needed and not missing
    waited = (moment - round_.opened_at).total_seconds() >= schedule.min_wait_s
    if enough and (waited or not working or overdue):
        return services.close_round(round_=round_)
    hopeless = len(received) + len(working) < round_.needed or any(slug not in working for slug in missing)
    if overdue or (hopeless and run.state == RunState.RUNNING):
        why = "deadline passed" if overdue else "too few banks left"
        late = f", waiting for {', '.join(sorted(working))}" if working else ""
        reason = f"{why}: {len(received)} of {round_.needed} needed updates{late}"
        return services.abandon_round(round_=round_, reason=reason)
    return False


def _step_closing_evaluation(run: Run, moment: datetime) -> bool:
    version = run.last_version
    here = set(version.evaluations.values_list("institution_id", flat=True))
    if closing_evaluators(run) - here and not is_overdue(run.deadline_at, moment):
        return False
    services.finish_run(run=run)
    return True


# -------------------------------------------------------------------- aggregation
def compute(round_: Round) -> bool:
    """Aggregate a closed round under a lease and publish. False when another worker holds it."""
    with speaking_of(round=round_.number):
        return _compute_under_lease(round_)


def _compute_under_lease(round_: Round) -> bool:
    owner = leases.owner()
    if not services.claim_round(round_=round_, owner=owner):
        return False
    try:
        _compute(round_, owner)
    except Exception:  # a full disk, a database that went away: somebody tries again soon, nobody waits for the lease
        services.give_back_lease(round_=round_, owner=owner, after_s=RETRY_S)
        raise
    return True


def _is_orphan(round_: Round) -> bool:
    """The worker that held it died on this machine: its lease need not run out first."""
    lost = leases.is_lost(round_.lease_owner)
    return lost and services.give_back_lease(round_=round_, owner=round_.lease_owner)


def _compute(round_: Round, owner: str) -> None:
    try:
        if round_.only_counts:
            services.publish_counts(round_=round_, counts=open_counts(round_))
            return
        done = aggregate_round(round_, layout_for(round_.run), on_block=_Lease(round_, owner).on_block)
    except (Overflowed, RingExceeded, ShareInvalid) as error:
        services.give_up_round(round_=round_, reason=error.sentence if isinstance(error, Refusal) else str(error))
        return
    crashing.reached("version:kept")
    services.publish_version(round_=round_, done=done)


class _Lease:
    """Renewed now and then while blocks are computed."""

    def __init__(self, round_: Round, owner: str) -> None:
        self.round_, self.owner = round_, owner
        self.renewed = time.monotonic()

    def on_block(self, share: float) -> None:
        crashing.reached("block:computed")
        if time.monotonic() - self.renewed > LEASE_S / 3:
            self.renewed = time.monotonic()
            services.renew_lease(round_=self.round_, owner=self.owner)
