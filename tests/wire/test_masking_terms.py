"""Terms come from plan and manifest alone; counts and rotated updates pass through a cohort unharmed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clientagent.wire.errors import CohortMismatch, CohortTooSmall, CountsInvalid, Malformed, RingExceeded
from clientagent.wire.masking import (
    Base,
    Cohort,
    Collector,
    Rotation,
    Stage,
    cohort_terms,
    dequantise,
    evaluation_integers,
    evaluation_segments,
    pooled_evaluation,
    quantise,
    reals,
)
from clientagent.wire.messages import EvaluationCounts, RosterEntry, RunManifest, SplitCounts
from clientagent.wire.metrics import from_sparse
from clientagent.wire.secure_messages import CohortTerms
from tests.wire.cohorts import NAMES, RUN, Rehearsal, identity_of, small, terms_for
from tests.wire.given import a_plan

BANKS = ["east", "north", "south", "west"]
MANIFEST = RunManifest(
    run=RUN, project="retail-credit", plan_hash="a" * 64, preprocessing_digest="b" * 64, inputs=3, parameters=4,
    initial_digest="c" * 64, created_utc="2026-01-01T00:00:00Z",
    roster=[
        RosterEntry(
            institution=name, agent_id=RUN, public_key=identity_of(name).public.text,
            key_fingerprint=identity_of(name).fingerprint, rows=rows, validation_rows=10, holdout_rows=20, weight=rows / 1000,
        )
        for name, rows in zip(BANKS, (100, 400, 200, 300), strict=True)
    ],
)
SECURE = {"secure_aggregation": {"threshold": 0.67, "min_cohort": 3}}


def drawn(ready: list[str] = BANKS, **changes: Any) -> CohortTerms:
    fields: dict[str, Any] = {
        "plan": a_plan(privacy=SECURE), "manifest": MANIFEST, "manifest_digest": "d" * 64, "round_number": 3, "attempt": 1,
        "bases": {name: Base(2, "e" * 64) for name in ready}, "segments": small(len(ready)),
    }
    return cohort_terms(**{**fields, **changes})


def test_portal_and_bank_draw_the_same_terms_whatever_order_they_hear_of_the_banks() -> None:
    assert Cohort(drawn()).rid == Cohort(drawn(list(reversed(BANKS)))).rid
    terms = drawn()
    assert terms.threshold == 3
    assert [member.public_key for member in terms.members] == [entry.public_key for entry in MANIFEST.roster]


@pytest.mark.parametrize("changes", [
    {"attempt": 2}, {"cohort": 2}, {"round_number": 4}, {"manifest_digest": "f" * 64},
    {"bases": {name: Base(2, "f" * 64) for name in BANKS}},
    {"segments": [reals("update", 5, bound=2.0, parties=4)]}, {"noise_multiplier": 1.0}, {"ready": BANKS[:3]},
    {"plan": a_plan(privacy={"secure_aggregation": {"threshold": 0.8}})}, {"purpose": "evaluation"},
])
def test_the_cohorts_name_changes_with_everything_that_it_fixes(changes: dict[str, Any]) -> None:
    assert Cohort(drawn(**changes)).rid != Cohort(drawn()).rid


def test_a_bank_that_is_not_on_the_roster_joins_no_cohort() -> None:
    with pytest.raises(CohortMismatch):
        drawn([*BANKS, "stranger"])


def test_fewer_ready_banks_than_min_cohort_make_none() -> None:
    with pytest.raises(CohortTooSmall):
        drawn(BANKS[:2])


def test_a_plan_without_secure_aggregation_has_no_cohorts() -> None:
    with pytest.raises(CohortMismatch):
        drawn(plan=a_plan())


def test_weights_are_public_and_fall_with_staleness() -> None:
    bases = {name: Base(2, "e" * 64) for name in BANKS} | {"north": Base(1, "f" * 64, staleness=1)}
    cohort = Cohort(drawn(bases=bases))
    assert cohort.factor_of("west") == 1.0  # north's 0.4 fell below west's 0.3
    assert cohort.factor_of("north") == pytest.approx(0.4 / 2**0.5 / 0.3)
    assert cohort.divisor_of(["east", "west"]) == pytest.approx(1 + 1 / 3)


def test_the_clip_of_institution_level_privacy_is_part_of_the_terms() -> None:
    plan = a_plan(strategy={"weighting": "equal"}, privacy={**SECURE, "institution_dp": {"clip": 0.5}})
    assert drawn(plan=plan).clip == 0.5


def test_more_banks_than_a_cohort_can_hold_are_refused_by_name() -> None:
    names = [f"bank-{i:03d}" for i in range(65)]
    roster = [MANIFEST.roster[0].model_copy(update={"institution": n, "public_key": identity_of(n).public.text}) for n in names]
    with pytest.raises(Malformed, match="members"):
        drawn(names, manifest=MANIFEST.model_copy(update={"roster": roster}))


# --------------------------------------------------------------- evaluation counts
def _counts(rows: int, bins: list[tuple[int, int, int]], loss: float) -> EvaluationCounts:
    split = SplitCounts(rows=rows, loss_sum=loss, bins=bins)
    return EvaluationCounts(number=1, version_digest="a" * 64, validation=split, holdout=split)


def test_the_pool_is_counted_and_no_banks_own_counts_are_seen() -> None:
    reports = {
        "bank-00": _counts(10, [(0, 3, 1), (9, 2, 4)], 4.25), "bank-01": _counts(7, [(0, 7, 0)], 0.125),
        "bank-02": _counts(0, [], 0.0), "bank-03": _counts(500_000, [(5, 500_000, 0)], 123456.789),
    }
    segments = evaluation_segments(10, most_rows={"validation": 500_000, "holdout": 500_000}, parties=4)
    terms = terms_for(4, 3, purpose="evaluation", segments=segments)
    ring = Collector(terms).cohort.ring
    vectors = {bank: ring.encode(evaluation_integers(report, 10, segments)) for bank, report in reports.items()}
    rehearsal = Rehearsal(terms, vectors, {"bank-01": Stage.MASKED}).run()
    sums = {name: np.array(integers) for name, integers in rehearsal.total().items()}
    for split in pooled_evaluation(sums, segments).values():
        assert split.rows == 500_010
        assert from_sparse(split, 10).sum(axis=0).tolist() == [500_005, 5]
        assert split.bins == [(0, 3, 1), (5, 500_000, 0), (9, 2, 4)]
        assert split.loss_sum == pytest.approx(123461.039, abs=1e-4)


def test_counts_beyond_the_declared_rows_or_that_contradict_themselves_are_refused() -> None:
    segments = evaluation_segments(10, most_rows={"validation": 100, "holdout": 100}, parties=3)
    ring = Collector(terms_for(3, 2, segments=segments)).cohort.ring
    with pytest.raises(RingExceeded):
        ring.encode(evaluation_integers(_counts(101, [(0, 101, 0)], 1.0), 10, segments))
    with pytest.raises(CountsInvalid):
        evaluation_integers(_counts(5, [(0, 9, 0)], 1.0), 10, segments)


# ----------------------------------------------------------------------- rotation
def test_a_rotated_vector_keeps_its_norm_and_comes_back_in_pieces() -> None:
    values = np.random.default_rng(0).standard_t(2, size=300_000)
    rotated = Rotation("a" * 64).forward(values)
    assert np.linalg.norm(rotated) == pytest.approx(np.linalg.norm(values), rel=1e-12)
    back, pieces = Rotation("a" * 64), []
    for start in range(0, len(rotated), 40_960):
        pieces.append(back.back(rotated[start : start + 40_960]))
    assert np.abs(np.concatenate(pieces)[:300_000] - values).max() < 1e-9


def test_rotating_commutes_with_summing_in_a_cohort_and_saves_half_the_bytes() -> None:
    banks, size = NAMES[:4], 5000
    rng = np.random.default_rng(0)
    updates = {bank: rng.standard_t(2, size=size) * 0.01 for bank in banks}
    norm = max(float(np.linalg.norm(update)) for update in updates.values())
    padded = Rotation.padded(size)
    segment = reals("update", padded, bound=6 * norm / 64, parties=4, per_word=2)
    terms = terms_for(4, 3, segments=[segment])
    cohort = Collector(terms).cohort
    assert cohort.ring.words == padded // 2
    vectors = {}
    for bank in banks:
        quantised = quantise(Rotation(cohort.rid).forward(updates[bank]), segment, uniform=rng.random)
        assert quantised.clipped == 0
        vectors[bank] = cohort.ring.encode({"update": quantised.integers})
    rehearsal = Rehearsal(terms, vectors).run()
    opened = np.concatenate([dequantise(block.integers, segment) for block in rehearsal.blocks()])
    total, expected = Rotation(cohort.rid).back(opened)[:size], sum(updates.values())
    assert np.linalg.norm(total - expected) < 0.01 * np.linalg.norm(expected)
