"""What the bins say is what the customers say, within the width of a bin, and small cells hide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clientagent.wire.errors import CountsInvalid
from clientagent.wire.messages import SplitCounts
from clientagent.wire.metrics import (
    auc,
    bin_of,
    bin_probability,
    count,
    from_sparse,
    ks,
    merge_small,
    metrics_of,
    to_sparse,
)

sizes = st.integers(1, 60)
counted = arrays(np.int64, st.tuples(st.integers(10, 40), st.just(2)), elements=st.integers(0, 9))


def exact_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """By brute force over all pairs: P(bad scores above good), half for a tie."""
    bad, good = scores[labels == 1][:, None], scores[labels == 0][None, :]
    return float(((bad > good) + (bad == good) / 2).mean())


def exact_ks(scores: np.ndarray, labels: np.ndarray) -> float:
    cuts = np.unique(scores)
    good, bad = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    below = [np.searchsorted(side, cuts, "right") / len(side) for side in (good, bad)]
    return float(np.abs(below[0] - below[1]).max())


def customers(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(np.int64)
    return rng.normal(labels * 1.5 - 2, 2), labels


@given(st.integers(0, 10_000), st.sampled_from([10, 50, 1000]))
def test_auc_and_ks_are_exactly_those_of_the_binned_scores(seed, bins):
    logits, labels = customers(seed)
    counts, binned = count(logits, labels, bins), bin_of(logits, bins)
    assert auc(counts) == pytest.approx(exact_auc(binned, labels), abs=1e-12)
    assert ks(counts) == pytest.approx(exact_ks(binned, labels), abs=1e-12)


@given(st.integers(0, 10_000))
def test_with_a_thousand_bins_auc_is_within_a_thousandth_of_the_true_one(seed):
    logits, labels = customers(seed)
    assert auc(count(logits, labels, 1000)) == pytest.approx(exact_auc(logits, labels), abs=1e-3)


@given(st.integers(0, 10_000), st.sampled_from([10, 1000]))
def test_ties_within_bins_move_auc_by_at_most_half_their_share(seed, bins):
    logits, labels = customers(seed)
    counts = count(logits, labels, bins).astype(float)
    tied = (counts[:, 0] * counts[:, 1]).sum() / (counts[:, 0].sum() * counts[:, 1].sum())
    assert abs(auc(count(logits, labels, bins)) - exact_auc(logits, labels)) <= tied / 2 + 1e-12


def test_golden_counts():
    counts = np.array([[50, 1], [30, 4], [15, 10], [5, 35]])
    assert auc(counts) == pytest.approx(0.9145)  # by hand: (1*25 + 4*65 + 10*87.5 + 35*97.5) / (100*50)
    assert ks(counts) == pytest.approx(0.7)
    metrics = metrics_of(counts, loss_sum=30.0, rows=150)
    assert (metrics.rows, metrics.positives, metrics.loss) == (150, 50, 0.2)
    assert metrics.gini == pytest.approx(2 * metrics.auc - 1)


def test_a_perfect_score_has_auc_1_and_a_turned_one_0():
    counts = np.array([[10, 0], [0, 10]])
    assert (auc(counts), ks(counts)) == (1.0, 1.0)
    assert auc(counts[::-1]) == 0.0
    assert auc(np.array([[10, 10]])) == 0.5


@pytest.mark.parametrize("counts", [np.zeros((10, 2), np.int64), np.array([[5, 0]] * 10), np.array([[0, 5]] * 10)])
def test_one_class_alone_has_no_auc(counts):
    assert (auc(counts), ks(counts)) == (None, None)
    assert metrics_of(counts, 0.0, 0).loss is None
    assert metrics_of(counts, 0.0, 0).gini is None


@given(counted)
def test_turning_good_and_bad_round_turns_auc_round(counts):
    there, back = auc(counts), auc(counts[:, ::-1])
    assert there is None or there + back == pytest.approx(1, abs=1e-12)


@given(counted)
def test_counts_of_banks_add_up(counts):
    assert auc(3 * counts) == pytest.approx(auc(counts), abs=1e-12)


@given(counted, st.integers(1, 60))
def test_merging_keeps_totals_and_leaves_no_small_cell(counts, min_cell):
    merged = merge_small(counts, min_cell)
    held = merged.sum(axis=1)
    if counts.sum() < min_cell:
        assert not merged.any()
        return
    assert (merged.sum(axis=0) == counts.sum(axis=0)).all()
    assert (held[held > 0] >= min_cell).all()


@given(counted, st.integers(1, 60))
def test_merging_keeps_the_order_of_customers(counts, min_cell):
    """Who stood below stays below or becomes equal: the k-th customer's new bin never falls as k grows."""
    merged = merge_small(counts, min_cell)
    if merged.any():
        for side in (0, 1, slice(None)):
            was = np.repeat(np.arange(len(counts)), counts[:, side].reshape(len(counts), -1).sum(axis=1))
            now = np.repeat(np.arange(len(counts)), merged[:, side].reshape(len(counts), -1).sum(axis=1))
            assert len(was) == len(now)
            assert (np.diff(now) >= 0).all()


@given(counted)
def test_merging_to_single_customers_changes_nothing(counts):
    assert (merge_small(counts, 1) == counts).all()


@given(st.integers(0, 1000))
def test_merging_to_five_customers_moves_auc_little(seed):
    logits, labels = customers(seed, rows=1000)
    counts = count(logits, labels, 1000)
    assert auc(merge_small(counts, 5)) == pytest.approx(auc(counts), abs=0.01)


@given(counted)
def test_sparse_and_dense_counts_are_the_same(counts):
    split = SplitCounts(rows=int(counts.sum()), loss_sum=0.0, bins=to_sparse(counts))
    assert (from_sparse(split, len(counts)) == counts).all()


@pytest.mark.parametrize(
    ("rows", "bins"),
    [
        (2, [(10, 1, 1)]), (2, [(0, 1, 0), (0, 0, 1)]), (2, [(1, 1, 0), (0, 1, 0)]), (3, [(0, 1, 1)]),
        (1, [(0, 1, 1)]), (0, [(0, 1, 0)]), (10**12, [(9, 10**12, 10**12)]),
    ],
)
def test_counts_that_do_not_add_up_or_leave_the_bins_are_refused(rows, bins):
    with pytest.raises(CountsInvalid):
        from_sparse(SplitCounts(rows=rows, loss_sum=0.0, bins=bins), 10)


def test_a_bank_too_small_to_report_reports_nothing():
    assert not from_sparse(SplitCounts(rows=4, loss_sum=1.5, bins=[]), 10).any()


@pytest.mark.parametrize("bins", [[(-1, 1, 1)], [(0, -1, 1)], [(0, 10**13, 0)], [(0, 1)], [("x", 1, 1)], [(0, 1.5, 0)]])
def test_counts_that_are_no_counts_are_refused_at_the_door(bins):
    with pytest.raises(ValueError, match="bins"):
        SplitCounts(rows=1, loss_sum=0.0, bins=bins)


@pytest.mark.parametrize("loss_sum", [float("nan"), float("inf"), -1.0])
def test_a_loss_is_finite_and_not_negative(loss_sum):
    with pytest.raises(ValueError, match="loss_sum"):
        SplitCounts(rows=1, loss_sum=loss_sum, bins=[])


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([10, 1000, 100_000]))
def test_every_number_falls_into_a_bin(logit, bins):
    assert 0 <= bin_of([logit], bins)[0] < bins


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20), st.sampled_from([10, 1000]))
def test_a_higher_score_never_falls_into_a_lower_bin(logits, bins):
    assert (np.diff(bin_of(np.sort(logits), bins)) >= 0).all()


def test_the_bins_are_equal_steps_of_the_log_odds():
    assert bin_of([-99, -10, -9.99, 0, 9.99, 10, 99], 1000).tolist() == [0, 0, 0, 500, 999, 999, 999]
    middle = bin_probability(1000)
    assert middle[499] == pytest.approx(1 - middle[500])
    assert (np.diff(middle) > 0).all()
    assert (bin_of(np.log(middle / (1 - middle)), 1000) == np.arange(1000)).all()
