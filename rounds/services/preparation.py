"""From agreed plan to round 1: statistics are pooled and frozen; roster and initial weights are signed into the RunManifest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from django.db import transaction

from audit.selectors import epoch
from clientagent.wire.canonical import digest_of
from clientagent.wire.errors import Refusal
from clientagent.wire.masking import array_reader, open_sum, opened_statistics, remaining_masks, update_segments
from clientagent.wire.messages import PreprocessingSpec, RosterEntry, RunManifest, StatisticsReport
from clientagent.wire.plan import Plan as PlanSchema
from clientagent.wire.privacy.institution import FIRST_ADAPTIVE_CLIP, adapts, institution_terms
from clientagent.wire.signing import sign_document
from clientagent.wire.strategies import require_solvable
from clientagent.wire.tensors import Layout
from clientagent.wire.weights import initial_blocks, layout_of
from institutions.portal_key import portal_key
from rounds import crashing, live
from rounds.algorithms.preprocessing import pool_statistics, pool_sums
from rounds.algorithms.weighting import capped_shares
from rounds.clock import now, utc
from rounds.lifecycle import CohortStage, RunEvent
from rounds.models import Blob, ModelVersion, Run, Seat
from rounds.selectors.cohorts import collector_of
from rounds.services.bank_privacy import clip_said
from rounds.services.moves import move_run, record
from rounds.services.opening import open_round
from rounds.storage import blobs


@transaction.atomic(durable=True)
def prepare_run(*, run: Run) -> None:
    """Everybody who had to has approved: ask for statistics, within the plan's deadline."""
    deadline = now() + timedelta(seconds=run.plan.document.schedule.deadline_s)
    move_run(run, RunEvent.PREPARE, deadline_at=deadline)
    record(run, "run_preparing", {"approved": _slugs(run, Seat.State.APPROVED)})
    slugs = _slugs(run, Seat.State.APPROVED)
    transaction.on_commit(lambda: live.call_to_work(slugs))


@transaction.atomic(durable=True)
def fail_run(*, run: Run, reason: str, code: str) -> None:
    """End a run that cannot go on, and say why."""
    move_run(run, RunEvent.FAIL, reason=reason, ended_at=now(), deadline_at=None)
    record(run, "run_failed", {"code": code, "reason": reason})


@dataclass(frozen=True)
class _Prepared:
    spec: PreprocessingSpec
    manifest: RunManifest
    reports: dict[str, StatisticsReport]
    weights: dict[str, float]
    initial_digest: str
    initial_bytes: int


def begin_run(*, run: Run) -> None:
    """Freeze, sign and open round 1. What is computed is put on disk before the transaction that names it.

    Raises a ``Refusal`` when the statistics cannot be pooled; the engine then fails the run with that reason.
    """
    prepared = _prepare(run)
    with transaction.atomic(durable=True):
        _commit(run, prepared)


def _prepare(run: Run) -> _Prepared:
    plan = run.plan.document
    seats = list(run.seats.filter(state=Seat.State.COUNTED).select_related("institution", "key", "agent"))
    if plan.masks_statistics:
        spec, survivors = _preprocessing_under_masks(run)
        seats = [seat for seat in seats if seat.institution.slug in survivors]
        reports = {seat.institution.slug: _report(seat) for seat in seats}
    else:
        reports = {seat.institution.slug: _report(seat) for seat in seats}
        spec = pool_statistics(plan, [reports[slug] for slug in sorted(reports)])
    weights = _weights(plan, reports)
    inputs = len(spec.input_names)
    layout = layout_of(plan, inputs)
    require_solvable(plan.strategy, layout.parameters)
    _require_maskable(plan, layout.parameters, len(seats))
    with blobs.drafting() as path:
        _write_initial(path, plan, inputs, layout)
        digest = blobs.adopt(path)
    crashing.reached("initial:kept")
    manifest = RunManifest(
        run=str(run.pk), project=plan.project, plan_hash=run.plan.hash,
        roster=[_roster_entry(seat, reports, weights) for seat in sorted(seats, key=lambda s: s.institution.slug)],
        preprocessing_digest=digest_of(spec), inputs=inputs, parameters=layout.parameters, initial_digest=digest,
        created_utc=utc(now()), epoch=epoch(),
    )
    return _Prepared(spec, manifest, reports, weights, digest, layout.file_bytes)


def _preprocessing_under_masks(run: Run) -> tuple[PreprocessingSpec, list[str]]:
    """What the cohort's opened sum comes to, and the banks that are in it. Raises what opening and pooling raise."""
    collector, plan = collector_of(run.statistics_cohorts.get(stage=CohortStage.DONE)), run.plan.document
    ring, banks = collector.cohort.ring, collector.survivors
    sums = {place.segment.name: np.zeros(place.segment.values, np.int64) for place in ring.places}
    readers = [array_reader(np.frombuffer(b"".join(blobs.read(collector.inputs[bank])), "<u4")) for bank in banks]
    for block in open_sum(ring, readers, remaining_masks(collector)):
        sums[block.segment.name][block.first : block.first + len(block.integers)] = block.integers
    return pool_sums(plan, opened_statistics(plan, sums, banks=len(banks))), banks


def _require_maskable(plan: PlanSchema, parameters: int, banks: int) -> None:
    """Whether the ring has room for noise in shares at a scale fine enough: known once the model's size is. Raises ``PrivacyUnsound``."""
    if plan.privacy.secure_aggregation is not None and plan.privacy.institution_dp is not None:
        update_segments(plan, parameters, banks, noise_multiplier=institution_terms(plan).noise_multiplier)


def _write_initial(path: Path, plan: PlanSchema, inputs: int, layout: Layout) -> None:
    with open(path, "xb") as file:
        file.write(layout.header)
        file.truncate(layout.file_bytes)
        for start, values in initial_blocks(plan, inputs):
            file.seek(len(layout.header) + 4 * start)
            file.write(values.astype("<f4", copy=False).data)


def _commit(run: Run, prepared: _Prepared) -> None:
    signed = sign_document(prepared.manifest, portal_key())
    move_run(
        run, RunEvent.BEGIN, started_at=now(), deadline_at=None, manifest=signed.model_dump(mode="json"),
        manifest_digest=signed.digest, preprocessing=prepared.spec.model_dump(mode="json"),
        inputs=prepared.manifest.inputs, parameters=prepared.manifest.parameters,
    )
    for seat in run.seats.select_related("institution"):
        slug = seat.institution.slug
        if slug in prepared.weights:
            seat.state, seat.weight = Seat.State.SEATED, prepared.weights[slug]
        elif seat.state in (Seat.State.INVITED, Seat.State.APPROVED, Seat.State.COUNTED):
            seat.state = Seat.State.ABSENT
        seat.save(update_fields=["state", "weight"])
    blob, _ = Blob.objects.get_or_create(digest=prepared.initial_digest, defaults={"bytes": prepared.initial_bytes})
    version = ModelVersion.objects.create(
        run=run, number=0, digest=prepared.initial_digest, blob=blob, bytes=prepared.initial_bytes,
        clip=FIRST_ADAPTIVE_CLIP if adapts(run.plan.document) else None,
    )
    record(run, "manifest_signed", {"manifest": run.manifest, "preprocessing_digest": prepared.manifest.preprocessing_digest})
    record(run, "version_published", {"number": 0, "digest": version.digest, "parent_digest": None, "round": 0,
                                      "aggregation_digest": None, "state_digest": None, **clip_said(version)})
    open_round(run=run, number=1, attempt=1, base=version)


def _report(seat: Seat) -> StatisticsReport:
    return StatisticsReport.model_validate((seat.statistics or {}).get("document"))


def _weights(plan: PlanSchema, reports: dict[str, StatisticsReport]) -> dict[str, float]:
    slugs = sorted(reports)
    sizes = [float(reports[slug].rows) if plan.strategy.weighting == "samples" else 1.0 for slug in slugs]
    shares = capped_shares(sizes, plan.strategy.max_weight)
    return {slug: float(share) for slug, share in zip(slugs, shares, strict=True)}


def _roster_entry(seat: Seat, reports: dict[str, StatisticsReport], weights: dict[str, float]) -> RosterEntry:
    slug, key = seat.institution.slug, seat.key
    if key is None:
        raise Refusal(expected="statistics signed by an agent's key", got=f"none of {slug}")
    return RosterEntry(
        institution=slug, agent_id=str(seat.agent_id), public_key=key.public_key, key_fingerprint=key.fingerprint,
        rows=reports[slug].rows, validation_rows=reports[slug].validation_rows,
        holdout_rows=reports[slug].holdout_rows, weight=weights[slug],
    )


def _slugs(run: Run, state: str) -> list[str]:
    return sorted(run.seats.filter(state=state).values_list("institution__slug", flat=True))
