"""One round from opening to the published version, and the run's end after the last."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Q

from audit.services import anchor
from clientagent.wire.canonical import digest_of
from clientagent.wire.privacy.stream import KEY_BYTES
from rounds import crashing, live
from rounds.algorithms.geometry import Geometry
from rounds.clock import now, utc
from rounds.lifecycle import WORKING, CohortEvent, CohortStage, Phase, RoundEvent, RoundState, RunEvent, RunState, next_round_state
from rounds.models import Blob, ModelVersion, Participation, Round, Run, Seat, Update
from rounds.orders import work_order
from rounds.selectors.cohorts import collector_of, live_cohort
from rounds.selectors.metrics import selected_version, should_end
from rounds.services.bank_privacy import book_round, clip_said, next_clip, spent_in
from rounds.services.buffer import aggregation_manifest, in_manifest_order, note_weights, take_in
from rounds.services.cohorts import note_stage
from rounds.services.masked import is_masked
from rounds.services.moves import hint_after_commit, lock_round, lock_run, move_cohort, move_round, move_run, record
from rounds.services.pooling import OpenedCounts, pool_opened, pool_version
from rounds.services.registry import register

LEASE_S = 30.0


@dataclass(frozen=True)
class Aggregated:
    """What came of a closed round: blobs, in the store already, of the next version and of the server's vectors beside it.

    ``mean_digest``: the opened mean that stood for masked updates. ``noise_digest``: what the privacy of banks added to their sum.
    ``counts``: of the round's base, where masked updates brought them along.
    """

    digest: str
    size: int
    state_digest: str | None
    state_bytes: int
    geometry: Geometry
    mean_digest: str = ""
    noise_digest: str = ""
    counts: OpenedCounts | None = None


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


@transaction.atomic(durable=True)
def close_round(*, round_: Round) -> bool:
    """Stop accepting and commit the AggregationManifest, before any arithmetic. False when somebody was first."""
    round_ = lock_round(round_)
    if round_.state != RoundState.OPEN or not _end_cohort(round_):
        return False
    if round_.run.plan.document.privacy.institution_dp is not None and not is_masked(round_.run):
        round_.noise_key = os.urandom(KEY_BYTES).hex()
    manifest = aggregation_manifest(round_)
    digest = digest_of(manifest)
    moved = move_round(
        round_, RoundEvent.CLOSE, closed_at=now(), noise_key=round_.noise_key,
        aggregation=manifest.model_dump(mode="json"), aggregation_digest=digest,
    )
    if not moved:
        return False
    note_weights(round_, manifest)
    if not round_.run.is_async:  # async: who trains from this base may still be in time for a later buffer
        round_.participations.filter(phase__in=WORKING).update(phase=Phase.DROPPED)
    Participation.objects.filter(update__into=round_, phase=Phase.RECEIVED).update(phase=Phase.ACCEPTED)
    crashing.moving("phase:accepted")
    pool_version(round_.base)
    record(round_.run, "round_closed", {
        "round": round_.number, "attempt": round_.attempt, "aggregation": round_.aggregation, "digest": digest,
    })
    hint_after_commit(round_.run)
    return True


def _end_cohort(round_: Round) -> bool:
    """Under secure aggregation the round closes with its cohort's last stage; False when that is not due, or somebody was first."""
    if not is_masked(round_.run):
        return True
    cohort = live_cohort(round_)
    if cohort is None or cohort.stage != CohortStage.UNMASK:
        return False
    before = collector_of(cohort)
    before.close()
    if not move_cohort(cohort, CohortEvent.CLOSE):
        return False
    note_stage(cohort, round_, before)
    return True


@transaction.atomic(durable=True)
def claim_round(*, round_: Round, owner: str) -> bool:
    """Take the lease of a closed round, or of one whose worker was lost. The database decides who gets it."""
    moment = now()
    free = {RoundState.CLOSING: Q(), RoundState.AGGREGATING: Q(lease_until__lte=moment)}
    lease = {"lease_owner": owner, "lease_until": moment + timedelta(seconds=LEASE_S)}
    for was, unheld in free.items():
        to = next_round_state(was, RoundEvent.CLAIM)
        if Round.objects.filter(unheld, pk=round_.pk, state=was).update(state=to, **lease) == 1:
            crashing.moving(f"round:{was}:{RoundEvent.CLAIM}")
            return True
    return False


def renew_lease(*, round_: Round, owner: str) -> bool:
    """Keep the lease while computing; False when it was lost to another worker."""
    until = now() + timedelta(seconds=LEASE_S)
    held = Round.objects.filter(pk=round_.pk, state=RoundState.AGGREGATING, lease_owner=owner)
    return held.update(lease_until=until) == 1


def give_back_lease(*, round_: Round, owner: str, after_s: float = 0.0) -> bool:
    """Let the next worker have the round: ``owner`` is dead, or could not compute it."""
    until = now() + timedelta(seconds=after_s)
    held = Round.objects.filter(pk=round_.pk, state=RoundState.AGGREGATING, lease_owner=owner)
    return held.update(lease_until=until) == 1


@transaction.atomic(durable=True)
def publish_version(*, round_: Round, done: Aggregated) -> ModelVersion | None:
    """Make the aggregated weights and the server's vectors the next version, and open the next round or begin the closing evaluation.

    None when another worker published first: equal manifests gave the same bytes, so nothing is lost.
    """
    round_ = lock_round(round_)
    run = round_.run
    if round_.state != RoundState.AGGREGATING or not move_round(round_, RoundEvent.PUBLISH, published_at=now()):
        return None
    _name_blobs(done)
    if done.noise_digest:
        Round.objects.filter(pk=round_.pk).update(noise_id=done.noise_digest)
    version = ModelVersion.objects.create(
        run=run, number=round_.number, digest=done.digest, blob_id=done.digest, bytes=done.size, state_id=done.state_digest,
        parent=round_.base, round=round_, clip=next_clip(round_),
    )
    _note_geometry(round_, done)
    if done.counts is not None:
        pool_opened(round_.base, done.counts)
    record(run, "version_published", {"number": version.number, "digest": done.digest, "parent_digest": round_.base.digest,
                                      "round": round_.number, "aggregation_digest": round_.aggregation_digest,
                                      "state_digest": done.state_digest, "mean_digest": done.mean_digest or None,
                                      **_spent_by_banks(round_, done), **clip_said(version)})
    if should_end(run, last=version.number):
        _begin_closing(run)
    elif run.state == RunState.RUNNING:
        open_round(run=run, number=round_.number + 1, attempt=1, base=version)
    hint_after_commit(run)
    return version


@transaction.atomic(durable=True)
def publish_counts(*, round_: Round, counts: OpenedCounts | None) -> bool:
    """End the closing evaluation with the sum that was opened; None where it contradicts itself. False when somebody was first."""
    round_ = lock_round(round_)
    if round_.state != RoundState.AGGREGATING or not move_round(round_, RoundEvent.PUBLISH, published_at=now()):
        return False
    if counts is not None:
        pool_opened(round_.base, counts)
    record(round_.run, "counts_opened", {
        "round": round_.number, "number": round_.base.number, "banks": counts.banks if counts else 0,
    })
    hint_after_commit(round_.run)
    return True


def _name_blobs(done: Aggregated) -> None:
    rows = [Blob(digest=done.digest, bytes=done.size)]
    if done.state_digest:
        rows.append(Blob(digest=done.state_digest, bytes=done.state_bytes))
    if done.mean_digest:
        rows.append(Blob(digest=done.mean_digest, bytes=done.size))
    if done.noise_digest:
        rows.append(Blob(digest=done.noise_digest, bytes=done.size))
    Blob.objects.bulk_create(rows, ignore_conflicts=True)


def _spent_by_banks(round_: Round, done: Aggregated) -> dict[str, object]:
    """Under the privacy of banks: the noise in the sum, and what each bank in it has spent. Masked vectors were booked as they came."""
    if round_.run.plan.document.privacy.institution_dp is None:
        return {}
    if done.noise_digest:
        return {"noise_digest": done.noise_digest, "epsilon": book_round(round_)}
    return {"epsilon": spent_in(round_)}


def _note_geometry(round_: Round, done: Aggregated) -> None:
    """Norm and direction of each update; of masked ones nobody knows them, and the mean is noted instead."""
    if done.mean_digest:
        round_.cohorts.filter(stage=CohortStage.DONE).update(
            mean_id=done.mean_digest, mean_norm=float(done.geometry.norms[0])
        )
        return
    geometry = done.geometry
    updates = in_manifest_order(round_)
    for i, update in enumerate(updates):
        update.norm, update.cosine = float(geometry.norms[i]), float(geometry.cosines[i])
    Update.objects.bulk_update(updates, ["norm", "cosine"])


def _begin_closing(run: Run) -> None:
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


@transaction.atomic(durable=True)
def abandon_round(*, round_: Round, reason: str, attempts: int = 3) -> bool:
    """Give up an attempt and open the next one; after ``attempts`` the run pauses and says why."""
    round_ = lock_round(round_)
    if round_.state != RoundState.OPEN or not move_round(round_, RoundEvent.ABANDON, reason=reason):
        return False
    run = round_.run
    if not run.is_async:
        round_.participations.filter(phase__in=WORKING).update(phase=Phase.DROPPED)
    record(run, "round_abandoned", {"round": round_.number, "attempt": round_.attempt, "reason": reason})
    if run.state != RunState.RUNNING or round_.only_counts:
        pass  # a stopped run opens nothing, and the result does not wait for a second closing evaluation
    elif round_.attempt >= attempts:
        move_run(run, RunEvent.PAUSE, reason=reason)
        record(run, "run_paused", {"reason": reason})
    else:
        open_round(run=run, number=round_.number, attempt=round_.attempt + 1, base=round_.base)
    hint_after_commit(run)
    return True


@transaction.atomic(durable=True)
def give_up_round(*, round_: Round, reason: str) -> bool:
    """No version can come of a closed round: it is abandoned, and the run pauses until a person has decided."""
    round_ = lock_round(round_)
    if round_.state != RoundState.AGGREGATING or not move_round(round_, RoundEvent.ABANDON, reason=reason):
        return False
    run = round_.run
    record(run, "round_abandoned", {"round": round_.number, "attempt": round_.attempt, "reason": reason})
    if run.state == RunState.RUNNING and not round_.only_counts:
        move_run(run, RunEvent.PAUSE, reason=reason)
        record(run, "run_paused", {"reason": reason})
    hint_after_commit(run)
    return True


@transaction.atomic(durable=True)
def end_early(*, round_: Round, reason: str) -> bool:
    """Async: no more updates can come. The open buffer is given up and the last version is evaluated."""
    round_ = lock_round(round_)
    if round_.state != RoundState.OPEN or not move_round(round_, RoundEvent.ABANDON, reason=reason):
        return False
    record(round_.run, "round_abandoned", {"round": round_.number, "attempt": round_.attempt, "reason": reason})
    _begin_closing(round_.run)
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
