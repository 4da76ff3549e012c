"""What came of a closed round becomes the next version, or the counts of the last."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from rounds.algorithms.geometry import Geometry
from rounds.clock import now
from rounds.lifecycle import CohortStage, RoundEvent, RoundState, RunState
from rounds.models import Blob, ModelVersion, Round, Update
from rounds.selectors.metrics import should_end
from rounds.services.bank_privacy import book_round, clip_said, next_clip, spent_in
from rounds.services.buffer import in_manifest_order
from rounds.services.moves import hint_after_commit, lock_round, move_round, record
from rounds.services.opening import begin_closing, open_round
from rounds.services.pooling import OpenedCounts, pool_opened


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
        begin_closing(run)
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
