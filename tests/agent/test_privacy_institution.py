"""A whole bank's protection: no update counts for more than the clip, and the sum has the stated noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clientagent.wire.errors import NotFinite, PlanInvalid, PrivacyUnsound
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.institution import (
    AdaptiveClip,
    base_clip,
    clip_for_rounding,
    clip_update,
    count_sigma,
    honest_banks,
    institution_terms,
    noise_beside_count,
    noise_of_sum,
    noise_share,
    noisy_share_within,
    reachable_clips,
    repeats_of,
    require_smooth,
    share_sigma,
    sum_distance,
)
from clientagent.wire.privacy.stream import Stream
from tests.agent.private import spending
from tests.wire.given import a_plan

KEY = bytes(range(32))
BANKS = [f"bank-{i}" for i in range(60)]


def bank_plan(*, banks: int = 10, secure: bool = False, **institution_dp) -> Plan:
    privacy = {"institution_dp": {"epsilon": 8.0, **institution_dp}}
    if secure:
        privacy["secure_aggregation"] = {"threshold": 0.67}
    return a_plan(participants=BANKS[:banks], privacy=privacy, strategy={"weighting": "equal"}, schedule={"rounds": 10})


# --------------------------------------------------------------------- clipping
@settings(max_examples=100, deadline=None)
@given(
    update=arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**99), 2.0**99, width=32)),
    clip=st.floats(1e-3, 1e3),
)
def test_no_update_is_longer_than_the_clip_and_its_direction_stays(update, clip):
    clipped = clip_update(update, clip)
    assert np.linalg.norm(clipped.update) <= clip
    assert clipped.norm == pytest.approx(np.linalg.norm(update.astype(np.float64)), rel=1e-9)
    assert clipped.within == (clipped.norm <= clip)
    if clipped.norm:
        assert np.dot(clipped.update / clip, update / clipped.norm) >= 0


def test_an_update_without_any_length_stays_as_it_is():
    clipped = clip_update(np.zeros(5, np.float32), 1.0)
    assert not clipped.update.any()
    assert (clipped.norm, clipped.within) == (0.0, True)
    assert not clip_update(np.zeros(0, np.float32), 1.0).norm


def test_an_update_within_the_clip_is_not_touched():
    update = np.array([0.3, -0.4])
    assert np.array_equal(clip_update(update, 1.0).update, update)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_no_number_is_refused(bad):
    with pytest.raises(NotFinite):
        clip_update(np.array([1.0, bad]), 1.0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), parameters=st.integers(1, 300), scale=st.sampled_from([2.0**10, 2.0**20]))
def test_rounding_to_integers_never_carries_a_norm_beyond_the_clip(seed, parameters, scale):
    update = np.random.default_rng(seed).normal(size=parameters) * 10
    clipped = clip_update(update, clip_for_rounding(1.0, scale, parameters))
    integers = np.rint(clipped.update * scale)
    assert np.sum(integers.astype(object) ** 2) <= (1.0 * scale) ** 2


def test_a_scale_too_coarse_for_the_model_is_refused():
    with pytest.raises(PrivacyUnsound):
        clip_for_rounding(1.0, 4.0, 1000)


# ------------------------------------------------------------------------ noise
def test_shares_of_honest_banks_make_the_stated_noise():
    terms = institution_terms(bank_plan(secure=True))
    honest = honest_banks(needed=7)
    assert honest == 6
    sigma = 2.0**20 * share_sigma(terms.noise_multiplier * terms.clip, honest)
    require_smooth(sigma, parties=10, parameters=5000)
    shares = [noise_share(sigma, 5000, Stream(KEY).child(str(i))) for i in range(honest)]
    total = np.sum(shares, axis=0) / 2.0**20
    assert np.std(total) == pytest.approx(terms.noise_multiplier * terms.clip, rel=0.05)


def test_the_sum_of_shares_has_the_distribution_of_one_discrete_gaussian():
    sigma, parties = 2.0, 5
    total = np.sum([noise_share(sigma, 60_000, Stream(KEY).child(str(i))) for i in range(parties)], axis=0)
    places = np.arange(-60, 61)
    expected = np.exp(-(places**2) / (2 * parties * sigma**2))
    expected *= len(total) / expected.sum()
    found = np.array([np.count_nonzero(total == place) for place in places])
    common = expected > 10
    statistic = np.sum((found - expected)[common] ** 2 / expected[common])
    assert statistic < common.sum() + 5 * math.sqrt(2 * common.sum())
    assert sum_distance(sigma, parties) < 1e-10


def test_shares_too_coarse_to_add_up_are_refused():
    with pytest.raises(PrivacyUnsound, match="coarse"):
        require_smooth(0.5, parties=6, parameters=5000)
    with pytest.raises(PrivacyUnsound, match="honest"):
        share_sigma(1.0, honest_banks(needed=3, colluding=2))


def test_the_portals_noise_is_as_large_as_stated():
    terms = institution_terms(bank_plan(clip=0.5))
    noise = noise_of_sum(50_000, terms, Stream(KEY))
    assert np.std(noise) == pytest.approx(terms.noise_multiplier * 0.5, rel=0.02)


# ------------------------------------------------------------------------ terms
@pytest.mark.parametrize("secure", [False, True])
def test_a_whole_run_costs_what_the_plan_says(secure):
    terms = institution_terms(bank_plan(secure=secure))
    assert 0.99 * 8 <= terms.epsilon_after(terms.updates) <= 8.0
    assert terms.epsilon_after(0) == 0 < terms.epsilon_after(1) < terms.epsilon_after(5) < 8.0
    kind = "discrete_gaussian" if secure else "gaussian"
    assert terms.updates == 10 + (repeats_of(bank_plan()) if secure else 0)
    assert terms.epsilon_after(10) == epsilon_of(spending((terms.noise_multiplier, 1.0, 10), kind=kind), 1e-5)
    assert terms.event("a" * 64, "b" * 64).mechanism == kind


def test_discrete_shares_need_a_little_more_noise():
    plain, shared = institution_terms(bank_plan()), institution_terms(bank_plan(secure=True))
    assert plain.noise_multiplier < shared.noise_multiplier < 1.2 * plain.noise_multiplier


def test_heavier_banks_would_be_protected_less_so_all_weigh_alike():
    plan = a_plan(privacy={"institution_dp": {}}, strategy={"weighting": "samples"})
    with pytest.raises(PlanInvalid) as refused:
        institution_terms(plan)
    assert refused.value.got == "strategy.weighting"


def test_a_plan_without_it_has_no_terms():
    with pytest.raises(PlanInvalid):
        institution_terms(a_plan())


# ----------------------------------------------------------------- adaptive clip
@pytest.mark.parametrize("start", [0.01, 1.0, 100.0])
def test_an_adaptive_clip_finds_the_median_from_either_side(start):
    norms = np.exp(np.random.default_rng(0).normal(size=200))
    clip = AdaptiveClip(clip=start)
    for _ in range(200):
        clip = clip.after(float(np.mean(norms <= clip.clip)))
    assert clip.clip == pytest.approx(np.median(norms), rel=0.05)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), start=st.floats(1e-3, 1e3), spread=st.floats(0.1, 2.0), target=st.sampled_from([0.3, 0.5, 0.8]))
def test_an_adaptive_clip_settles_at_its_quantile_though_the_count_has_noise(seed, start, spread, target):
    """Andrew et al. 2021, section 2: whatever the norms and the start; here within what the count's noise leaves undecided."""
    banks, rng = 100, np.random.default_rng(seed)
    norms = np.exp(spread * rng.normal(size=banks))
    clip, settled = AdaptiveClip(clip=start, target=target), []
    for step in range(400):
        within = int(np.count_nonzero(norms <= clip.clip))
        share = noisy_share_within(within, banks, Stream(KEY).child(f"{seed}/{step}"), deviation=count_sigma(banks))
        clip = clip.after(share)
        settled.append(clip.clip)
    reached = math.exp(float(np.mean(np.log(settled[200:]))))
    low, high = np.quantile(norms, [target - 0.1, target + 0.1])
    assert low <= reached <= high


@settings(max_examples=50, deadline=None)
@given(shares=st.lists(st.floats(-5, 5), max_size=30))
def test_no_counts_lead_beyond_what_a_bank_accepts(shares):
    clip, plan = AdaptiveClip(), bank_plan(banks=50, clip="adaptive")
    for share in shares:
        clip = clip.after(share)
    assert base_clip(plan, told=clip.clip, base_number=len(shares)) == clip.clip
    low, high = reachable_clips(len(shares))
    for told in (None, 0.99 * low, 1.01 * high):
        with pytest.raises(PrivacyUnsound):
            base_clip(plan, told=told, base_number=len(shares))


@settings(max_examples=20, deadline=None)
@given(noise=st.floats(0.5, 4.9), banks=st.integers(50, 400), rounds=st.integers(1, 20))
def test_updates_and_count_together_never_cost_more_than_is_charged(noise, banks, rounds):
    """The pair is one Gaussian of the stated multiplier (theorem 1): what is charged is not below the exact cost of both."""
    if noise >= 2 * count_sigma(banks):
        return
    pair = 1 / noise_beside_count(noise, banks) ** 2 + 1 / (2 * count_sigma(banks)) ** 2
    assert pair <= noise**-2 * (1 + 1e-12)
    charged = epsilon_of(spending((noise, 1.0, rounds), kind="gaussian"), 1e-5)
    assert charged >= exact_gaussian(noise / math.sqrt(rounds), 1e-5) * (1 - 1e-9)


def exact_gaussian(noise: float, delta: float) -> float:
    """Epsilon of one Gaussian of this multiplier, in closed form (Balle & Wang 2018, theorem 8), by bisection."""
    def spent(epsilon: float) -> float:
        def phi(x: float) -> float:
            return math.erfc(-x / math.sqrt(2)) / 2

        return phi(1 / (2 * noise) - epsilon * noise) - math.exp(epsilon) * phi(-1 / (2 * noise) - epsilon * noise)

    low, high = 0.0, 600.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= delta else (middle, high)
    return low


def test_the_clip_falls_where_most_banks_are_within_and_rises_where_few_are():
    assert AdaptiveClip(clip=1.0).after(1.0).clip < 1.0 < AdaptiveClip(clip=1.0).after(0.0).clip


@pytest.mark.parametrize(("noise", "banks", "expected"), [(2.0, 50, 2.18), (5.0, 200, 5.16)])
def test_counting_costs_noise_elsewhere(noise, banks, expected):
    assert noise_beside_count(noise, banks) == pytest.approx(expected, abs=0.005)
    shared = spending((noise_beside_count(noise, banks), 1.0, 1), (2 * banks / 20, 1.0, 1), kind="gaussian")
    assert epsilon_of(shared, 1e-5) == pytest.approx(epsilon_of(spending((noise, 1.0, 1), kind="gaussian"), 1e-5), rel=1e-3)


@pytest.mark.parametrize(("noise", "banks"), [(1.0, 10), (0.5, 49), (5.0, 50)])
def test_an_adaptive_clip_is_locked_below_fifty_banks(noise, banks):
    with pytest.raises(PrivacyUnsound):
        noise_beside_count(noise, banks)


def test_a_plan_with_an_adaptive_clip_needs_fifty_banks():
    with pytest.raises(PlanInvalid):
        institution_terms(bank_plan(banks=49, clip="adaptive"))
    assert institution_terms(bank_plan(banks=50, clip="adaptive")).adaptive


def test_the_count_of_banks_within_carries_noise():
    shares = [noisy_share_within(30, 60, Stream(KEY).child(str(i)), deviation=count_sigma(60)) for i in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.005)
    assert np.std(shares) == pytest.approx(1 / 20, rel=0.1)
