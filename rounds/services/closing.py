"""The end of accepting: what a round will be made of is committed before any arithmetic."""

from __future__ import annotations

import os

from django.db import transaction

from clientagent.wire.canonical import digest_of
from clientagent.wire.privacy.stream import KEY_BYTES
from rounds import crashing
from rounds.clock import now
from rounds.lifecycle import WORKING, CohortEvent, CohortStage, Phase, RoundEvent, RoundState
from rounds.models import Participation, Round
from rounds.selectors.cohorts import collector_of, live_cohort
from rounds.services.buffer import aggregation_manifest, note_weights
from rounds.services.cohorts import note_stage
from rounds.services.masked import is_masked
from rounds.services.moves import hint_after_commit, lock_round, move_cohort, move_round, record
from rounds.services.pooling import pool_version


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
