"""What a bank says of the result: counts that hide small groups, gains with honest intervals, nothing where the plan protects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.data.table import Categories
from clientagent.evaluation.appraisal import groups_of, sends_counts, sends_gain, wants_appraisal
from clientagent.evaluation.comparison import auc_estimate, auc_gain, placements
from clientagent.evaluation.scores import score
from clientagent.preparation.preprocess import Inputs
from clientagent.wire.messages import MOST_GROUPS
from clientagent.wire.weights import initial_weights
from tests.agent.tables import plan_of


def scores(seed: int, rows: int = 60, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % 3 == 0).astype(np.int8)
    return np.round(rng.normal(labels * signal, 1), 1), np.round(rng.normal(labels, 1), 1), labels


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 60))
def test_placements_are_those_by_brute_force(seed, rows):
    ours, _, labels = scores(seed, rows)
    bad, good = ours[labels == 1], ours[labels == 0]
    wins = (bad[:, None] > good) + (bad[:, None] == good) / 2
    below, above = placements(ours, labels)
    assert np.allclose(below, wins.mean(axis=1))
    assert np.allclose(above, wins.mean(axis=0))


def test_the_paired_interval_is_delongs():
    """Golden: variance of the difference from the placements' covariances, DeLong et al. 1988, eq. 5 and 6."""
    ours, theirs, labels = scores(3)
    variance = 0.0
    for mine, other in zip(placements(ours, labels), placements(theirs, labels), strict=True):
        s = np.cov(mine, other, ddof=1)
        variance += (s[0, 0] + s[1, 1] - 2 * s[0, 1]) / len(mine)
    found = auc_gain(ours, theirs, labels)
    assert found.high - found.value == pytest.approx(1.959964 * np.sqrt(variance))
    assert found.value == pytest.approx(auc_estimate(ours, labels).value - auc_estimate(theirs, labels).value)


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    hits = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        labels = (rng.random(400) < 0.3).astype(np.int8)
        shared = rng.normal(labels * 1.0, 1)
        found = auc_gain(shared + rng.normal(0, 0.5, 400), shared + rng.normal(0, 0.5, 400), labels)
        hits.append(found.low <= 0 <= found.high)
    assert 0.91 <= np.mean(hits) <= 0.98


def test_the_same_scores_gain_nothing_and_one_class_tells_nothing():
    ours, _, labels = scores(1)
    same = auc_gain(ours, ours, labels)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert auc_gain(ours, ours, np.zeros_like(labels)) is None
    assert auc_estimate(np.arange(4.0), np.array([0, 0, 1, 1], np.int8)).value == 1


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 12), min_size=1, max_size=40), st.sampled_from([1, 5, 8]))
def test_no_group_is_small_nor_found_by_taking_away(seed, sizes, min_cell):
    plan = plan_of(model__family="logistic", privacy__min_cell=min_cell)
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.full(size, code - 1, np.int32) for code, size in enumerate(sizes)])
    held = Inputs(rng.normal(size=(len(codes), 3)).astype(np.float32), (rng.random(len(codes)) < 0.4).astype(np.int8))
    groups = groups_of(plan, initial_weights(plan, 3), held, Categories(codes, [f"g{i}" for i in range(len(sizes))]))
    assert all(group.holdout.rows >= min_cell for group in groups)
    hidden = len(codes) - sum(group.holdout.rows for group in groups)
    assert hidden == 0 or not groups
    assert len(groups) <= MOST_GROUPS + 1
    assert len({group.group for group in groups}) == len(groups)


def test_groups_are_counted_apart():
    plan = plan_of(model__family="logistic")
    rng = np.random.default_rng(0)
    held = Inputs(rng.normal(size=(40, 3)).astype(np.float32), (np.arange(40) % 4 == 0).astype(np.int8))
    flat = rng.normal(size=initial_weights(plan, 3).shape).astype(np.float32)
    codes = np.array([0] * 20 + [1] * 20, np.int32)
    first, second = groups_of(plan, flat, held, Categories(codes, ["young", "old"]))
    assert (first.group, first.holdout.rows, second.group) == ("old", 20, "young")
    assert sum(bad for _, _, bad in second.holdout.bins) == int(held.labels[:20].sum())
    assert score(plan, flat, held.matrix).shape == (40,)


@pytest.mark.parametrize(
    ("privacy", "counts", "gain"),
    [({}, True, True), ({"record_dp": {"epsilon": 1.0}}, False, False), ({"secure_aggregation": {}}, False, True)],
)
def test_what_leaves_is_what_the_plan_lets(privacy, counts, gain):
    plan = plan_of(evaluation__gains=True, schedule__select="last", **{f"privacy__{name}": part for name, part in privacy.items()})
    assert (sends_counts(plan), sends_gain(plan)) == (counts, gain)
    assert not sends_gain(plan_of())
    assert wants_appraisal(plan) == (counts or gain)
