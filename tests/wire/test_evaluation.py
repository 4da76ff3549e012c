"""Figures from counts are scikit-learn's on the pooled scores, within the bound that they state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from clientagent.wire.evaluation import (
    Tally,
    auc_interval,
    average_precision,
    bounded_auc,
    brier,
    calibration,
    confusion,
    cut_for_budget,
    cut_of,
    empty_tally,
    figures_of,
    gain_curve,
    ks_cut,
    logit_of,
    pr_curve,
    probability_of,
    recall_at_budget,
    recall_at_fpr,
    roc_curve,
    stability,
    tally_of,
)
from clientagent.wire.messages import SplitCounts
from clientagent.wire.metrics import bin_of, count, merge_small, to_sparse

BUDGET = 0.05
worlds = st.tuples(
    st.integers(0, 10_000), st.lists(st.integers(1, 400), min_size=1, max_size=4), st.sampled_from([1, 5, 20]),
    st.sampled_from([20, 200, 1000]), st.floats(0.0, 2.0), st.sampled_from([0.05, 0.3]),
)  # fmt: skip


def banks_of(seed: int, sizes: list[int], signal: float, share: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Logits and labels of each bank; banks differ, some scores are beyond the bins and some tie."""
    rng = np.random.default_rng(seed)
    found = []
    for place, rows in enumerate(sizes):
        labels = (rng.random(rows) < share).astype(np.int64)
        logits = rng.normal(labels * signal + place - 2, 1 + 2 * place)
        found.append((np.where(rng.random(rows) < 0.1, np.round(logits), logits), labels))
    return found


def report(logits: np.ndarray, labels: np.ndarray, bins: int, min_cell: int) -> SplitCounts:
    counts = merge_small(count(logits, labels, bins), min_cell)
    loss = float(np.sum(np.logaddexp(0, logits) - labels * logits)) if counts.any() else 0.0
    return SplitCounts(rows=len(labels), loss_sum=loss, bins=to_sparse(counts))


def pooled(banks: list[tuple[np.ndarray, np.ndarray]], bins: int, min_cell: int) -> tuple[Tally, np.ndarray, np.ndarray]:
    """The tally of all banks' reports, and the scores of the customers whom it shows."""
    tally, shown = empty_tally(bins), [(np.empty(0), np.empty(0, np.int64))]
    for logits, labels in banks:
        part = tally_of(report(logits, labels, bins, min_cell), bins, min_cell)
        tally += part
        if part.rows:
            shown.append((logits, labels))
    return tally, np.concatenate([part[0] for part in shown]), np.concatenate([part[1] for part in shown])


def within(figure, exact: float) -> bool:
    return figure.low - 1e-9 <= exact <= figure.high + 1e-9 and figure.low - 1e-9 <= figure.value <= figure.high + 1e-9


@settings(max_examples=150, deadline=None)
@given(worlds)
def test_every_figure_holds_its_bound_around_scikit_learns(world):
    seed, sizes, min_cell, bins, signal, share = world
    tally, logits, labels = pooled(banks_of(seed, sizes, signal, share), bins, min_cell)
    if not tally.has_both:
        assert bounded_auc(tally) is None
        assert recall_at_fpr(tally, 0.1) is None
        return
    chance = 1 / (1 + np.exp(-logits))
    fpr, tpr, _ = sk.roc_curve(labels, logits, drop_intermediate=False)
    assert within(bounded_auc(tally), sk.roc_auc_score(labels, logits))
    assert within(average_precision(tally), sk.average_precision_score(labels, logits))
    assert within(ks_cut(tally)[0], np.max(np.abs(tpr - fpr)))
    assert within(brier(tally), sk.brier_score_loss(labels, chance))
    assert tally.loss == pytest.approx(sk.log_loss(labels, chance), rel=1e-5)  # 1 - p is coarse where p is near 1, and theirs with it
    assert within(recall_at_fpr(tally, 0.1), np.interp(0.1 + 1e-12, fpr, tpr))
    order = np.argsort(-logits, kind="stable")
    found = np.append(0, labels[order].cumsum())
    assert within(recall_at_budget(tally, BUDGET), np.interp(BUDGET * len(labels), np.arange(len(labels) + 1), found) / found[-1])


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_without_merging_the_curves_are_scikit_learns_on_the_binned_scores(world):
    seed, sizes, _, bins, signal, share = world
    tally, logits, labels = pooled(banks_of(seed, sizes, signal, share), bins, 1)
    if not tally.has_both:
        return
    binned = bin_of(logits, bins)
    fpr, tpr, cuts = sk.roc_curve(labels, binned, drop_intermediate=False)
    curve = roc_curve(tally)
    assert np.allclose(curve.x, fpr)
    assert np.allclose(curve.y, tpr)
    assert (curve.cuts[1:] == cuts[1:]).all()
    precision, recall, _ = sk.precision_recall_curve(labels, binned)
    reached = int(np.sum(recall == 1.0)) - 1  # scikit-learn keeps every cut at full recall, as we do
    assert np.allclose(pr_curve(tally).y[1:][::-1], precision[:-1])
    assert np.allclose(pr_curve(tally).x[::-1], recall)
    assert reached >= 0
    assert bounded_auc(tally).value == pytest.approx(sk.roc_auc_score(labels, binned))
    assert average_precision(tally).value == pytest.approx(sk.average_precision_score(labels, binned))
    gain = gain_curve(tally)
    assert (np.diff(gain.x) > 0).all()
    assert (gain.x[0], gain.y[0], gain.x[-1], gain.y[-1]) == (0, 0, 1, 1)


@settings(max_examples=40, deadline=None)
@given(worlds, st.floats(0, 1))
def test_a_cut_sorts_customers_as_the_threshold_does(world, probability):
    seed, sizes, _, bins, signal, share = world
    tally, logits, labels = pooled(banks_of(seed, sizes, signal, share), bins, 1)
    cut = cut_of(probability, bins)
    flagged = (np.clip(logits, -10, 10 - 1e-12) >= logit_of(cut, bins)).astype(int)
    (tn, fp), (fn, tp) = sk.confusion_matrix(labels, flagged, labels=[0, 1])
    found = confusion(tally.at, cut)
    assert abs(found.true_positives - tp) + abs(found.false_positives - fp) <= edge_ties(logits, cut, bins)
    assert found.rows == len(labels)
    assert (found.true_negatives + found.false_positives, found.true_positives + found.false_negatives) == (tn + fp, tp + fn)


def edge_ties(logits: np.ndarray, cut: int, bins: int) -> int:
    """Scores that sit on the edge itself fall to one side or the other by the last bit."""
    return int(np.sum(np.abs(np.clip(logits, -10, 10) - np.clip(logit_of(cut, bins), -10, 10)) < 1e-9))


@settings(max_examples=60, deadline=None)
@given(worlds, st.floats(0, 1))
def test_a_budgets_cut_flags_no_more_than_the_budget_and_the_next_lower_one_would(world, budget):
    seed, sizes, min_cell, bins, signal, share = world
    tally, *_ = pooled(banks_of(seed, sizes, signal, share), bins, min_cell)
    cut = cut_for_budget(tally.at, budget)
    assert confusion(tally.at, cut).flagged <= budget * tally.rows + 1e-6
    assert cut == 0 or not tally.rows or confusion(tally.at, cut - 1).flagged > budget * tally.rows - 1e-6


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_spreading_loses_no_customer_and_never_crosses(world):
    seed, sizes, min_cell, bins, signal, share = world
    tally, logits, labels = pooled(banks_of(seed, sizes, signal, share), bins, min_cell)
    for counts in (tally.low, tally.high):
        assert (counts.sum(axis=0) == tally.at.sum(axis=0)).all()
    true = count(logits, labels, bins)
    for side in (0, 1):
        above = [counts[::-1, side].cumsum() for counts in (tally.low, true, tally.high)]
        assert (above[0] <= above[1]).all()
        assert (above[1] <= above[2]).all()


def test_with_a_thousand_bins_and_many_customers_the_bounds_are_narrow():
    banks = banks_of(1, [20_000, 20_000, 20_000], 1.5, 0.2)
    tally, *_ = pooled(banks, 1000, 5)
    assert bounded_auc(tally).error < 0.004
    assert ks_cut(tally)[0].error < 0.02
    assert brier(tally).error < 0.006
    assert recall_at_budget(tally, BUDGET).error < 0.03


def test_the_interval_of_the_auc_is_delongs():
    """Golden: the structural components by hand on four bad and five good customers."""
    logits, labels = np.array([-2.0, -1, 0, 1, 2, -3, -1.5, 0.5, 3]), np.array([0, 0, 1, 1, 1, 0, 0, 0, 1])
    bad, good = logits[labels == 1], logits[labels == 0]
    wins = (bad[:, None] > good).astype(float)
    variance = wins.mean(axis=1).var(ddof=1) / 4 + wins.mean(axis=0).var(ddof=1) / 5
    value = wins.mean()
    low, high = auc_interval(count(logits, labels, 1000))
    half = 1.959964 * np.sqrt(variance) / (value * (1 - value))
    centre = np.log(value / (1 - value))
    assert (low, high) == pytest.approx((1 / (1 + np.exp(half - centre)), 1 / (1 + np.exp(-half - centre))), abs=1e-6)
    assert auc_interval(np.array([[5, 0], [0, 5]])) is None


@settings(max_examples=40, deadline=None)
@given(worlds)
def test_calibration_groups_hold_everybody_and_their_interval_holds_the_observed(world):
    seed, sizes, min_cell, bins, signal, share = world
    tally, *_ = pooled(banks_of(seed, sizes, signal, share), bins, min_cell)
    groups = calibration(tally)
    assert sum(group.rows for group in groups) == tally.rows
    assert sum(group.bad for group in groups) == tally.bad
    assert all(group.low <= group.observed <= group.high for group in groups)
    assert all(a.predicted < b.predicted for a, b in zip(groups, groups[1:], strict=False))


def test_stability_is_nothing_for_the_same_and_grows_with_the_shift():
    rng = np.random.default_rng(0)
    labels = np.zeros(50_000, np.int64)
    scores = rng.normal(-2, 1, 50_000)
    base = count(scores, labels, 1000)
    assert stability(base, base) == pytest.approx(0)
    shifts = [stability(base, count(scores + shift, labels, 1000)) for shift in (0.1, 0.5, 1.0)]
    assert shifts == sorted(shifts)
    assert shifts[1] == pytest.approx(0.25, abs=0.06)  # of two normals a step of d apart: about d squared
    assert stability(base, np.zeros_like(base)) is None


def test_probabilities_and_cuts_go_back_and_forth():
    for cut in (0, 1, 499, 500, 999, 1000):
        assert cut_of(probability_of(cut, 1000), 1000) == cut


def test_one_class_or_nobody_has_figures_that_say_so():
    lonely = tally_of(SplitCounts(rows=9, loss_sum=1.0, bins=[(400, 9, 0)]), 1000, 5)
    said = figures_of(lonely, budget=BUDGET)
    assert (said["rows"], said["auc"], said["ks"], said["average_precision"]) == (9, None, None, None)
    assert said["brier"]["low"] <= said["brier"]["value"] <= said["brier"]["high"]
    nobody = figures_of(empty_tally(1000), budget=BUDGET)
    assert (nobody["rows"], nobody["logloss"], nobody["calibration"]) == (0, None, [])


@settings(max_examples=20, deadline=None)
@given(worlds)
def test_a_tally_survives_json(world):
    seed, sizes, min_cell, bins, signal, share = world
    tally, *_ = pooled(banks_of(seed, sizes, signal, share), bins, min_cell)
    again = Tally.from_json(tally.to_json())
    assert all((getattr(again, part) == getattr(tally, part)).all() for part in ("at", "low", "high"))
    assert figures_of(again, budget=BUDGET) == figures_of(tally, budget=BUDGET)
