"""Noise in shares: the ring holds all of it, no update counts for more than the clip, and any sum that is opened has enough."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.errors import CohortMismatch, PrivacyUnsound, RingExceeded
from clientagent.wire.masking import Ring, Stage, clip_of, dequantise, fewest_in_sum, noised, update_segments
from clientagent.wire.masking.ring import largest
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.institution import clip_for_rounding, clip_update
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.secure_messages import HEADROOM, Segment
from tests.wire.cohorts import NAMES, Rehearsal, terms_for
from tests.wire.given import a_plan

KEY = bytes(range(32))


def shared_plan(*, banks: int = 5, clip: float = 1.0, threshold: float = 0.6) -> Plan:
    privacy = {"institution_dp": {"epsilon": 8.0, "clip": clip}, "secure_aggregation": {"threshold": threshold}}
    return a_plan(participants=[f"bank-{i:02d}" for i in range(banks)], privacy=privacy, strategy={"weighting": "equal"})


def segment_of(plan: Plan, parameters: int, parties: int, noise: float) -> Segment:
    return update_segments(plan, parameters, parties, noise_multiplier=noise)[0]


plans = {
    "banks": st.integers(3, 64), "clip": st.sampled_from([1e-3, 0.1, 0.3, 1.0, 7.5]), "threshold": st.floats(0.51, 1.0),
    "noise": st.floats(0.3, 300.0),
}  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(**plans)
def test_a_sum_of_clipped_updates_with_noise_cannot_overflow(banks: int, clip: float, threshold: float, noise: float) -> None:
    """By construction: even if every bank sends the most that the ring lets it, 12 standard deviations of noise included."""
    segment = segment_of(shared_plan(banks=banks, clip=clip, threshold=threshold), 3, banks, noise)
    most = largest(segment)
    assert most >= clip * segment.scale + HEADROOM * segment.noise
    assert 2 * most * banks < 2**32
    ring = Ring(banks, [segment])
    for sign in (1, -1):
        total = sum((ring.encode({"update": np.full(3, sign * most)}) for _ in range(banks)), np.zeros(ring.words, np.uint32))
        assert ring.decode(total, banks)["update"].tolist() == [sign * most * banks] * 3
    with pytest.raises(RingExceeded):
        ring.encode({"update": np.full(3, most + 1)})


@settings(max_examples=80, deadline=None)
@given(**plans)
def test_the_fewest_banks_of_a_sum_less_one_make_the_stated_noise(
    banks: int, clip: float, threshold: float, noise: float
) -> None:
    plan = shared_plan(banks=banks, clip=clip, threshold=threshold)
    segment = segment_of(plan, 3, banks, noise)
    fewest = fewest_in_sum(plan, banks)
    assert fewest >= 3
    deviation = math.sqrt(fewest - 1) * segment.noise / segment.scale
    assert deviation == pytest.approx(noise * clip, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), length=st.sampled_from([0.0, 0.01, 1.0, 100.0]), factor=st.sampled_from([1.0, 0.5]))
def test_no_bank_counts_for_more_than_the_clip_in_integers(seed: int, length: float, factor: float) -> None:
    plan = shared_plan(clip=0.5)
    segment = segment_of(plan, 40, 5, 2.0)
    update = np.random.default_rng(seed).normal(size=40) * length
    loud = noised(update, segment, clip=0.5, factor=factor, stream=Stream(KEY)).integers
    noise = noised(np.zeros(40), segment, clip=0.5, factor=factor, stream=Stream(KEY)).integers
    own = (loud - noise).astype(object)
    assert np.sum(own**2) <= (0.5 * segment.scale) ** 2
    exact = clip_update(update, clip_for_rounding(0.5, segment.scale, 40)).update
    assert np.allclose(own.astype(float) / segment.scale, factor * exact, atol=1 / segment.scale)


@pytest.mark.parametrize("dropped", [(), ("bank-03", "bank-04")])
def test_what_a_cohort_opens_is_the_sum_with_gaussian_noise_of_the_stated_size(dropped: tuple[str, ...]) -> None:
    """Through masks, dropouts and the ring: 40,000 coordinates in twenty equally likely cells (chi-square, 19 degrees)."""
    plan, size, noise = shared_plan(clip=0.5), 40_000, 3.0
    segment = segment_of(plan, size, 5, noise)
    terms = terms_for(5, 3, segments=[segment], clip=clip_of(plan), noise_multiplier=noise)
    updates = {bank: np.random.default_rng(i).normal(size=size) for i, bank in enumerate(NAMES[:5])}
    ring, vectors = Ring(5, [segment]), {}
    for bank, update in updates.items():
        shares = noised(update, segment, clip=0.5, factor=1.0, stream=Stream(KEY).child(bank))
        vectors[bank] = ring.encode({"update": shares.integers})
    rehearsal = Rehearsal(terms, vectors, dict.fromkeys(dropped, Stage.MASKED)).run()
    opened = dequantise(np.array(rehearsal.total()["update"]), segment)
    stayed = [bank for bank in updates if bank not in dropped]
    rest = opened - sum(clip_update(updates[bank], 0.5).update for bank in stayed)
    deviation = noise * 0.5 * math.sqrt(len(stayed) / (fewest_in_sum(plan, 5) - 1))
    assert deviation >= noise * 0.5
    edges = [NormalDist(0, deviation).inv_cdf(i / 20) for i in range(1, 20)]
    found = np.histogram(rest, [-np.inf, *edges, np.inf])[0]
    assert np.sum((found - size / 20) ** 2) / (size / 20) < 45  # 99.9 % of honest noise stays below 44
    assert abs(rest.mean()) < 4 * deviation / math.sqrt(size)


def test_a_model_too_large_for_the_ring_and_its_noise_is_refused() -> None:
    with pytest.raises(PrivacyUnsound):
        segment_of(shared_plan(), 10**9, 5, 1e5)


def test_a_plan_that_promises_privacy_to_banks_has_no_segments_without_noise() -> None:
    with pytest.raises(CohortMismatch, match="noise multiplier"):
        update_segments(shared_plan(), 10, 5)


def test_the_clip_bounds_each_coordinate_so_the_scale_is_as_fine_as_it_allows() -> None:
    fine, coarse = (segment_of(shared_plan(clip=clip), 10, 5, 1.0) for clip in (0.01, 8.0))
    assert fine.scale > 100 * coarse.scale
    assert (fine.bound, coarse.bound) == (0.01, 8.0)
