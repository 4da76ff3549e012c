"""Bins of all banks together: true to the stated error, borne by enough banks, and monotonic where asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.preparation.cells import count_cells
from rounds.algorithms.binning import even_levels, merged_edges, monotonic_edges, quantile_edges, sound_bins
from rounds.algorithms.cells import PooledCells, pool_cells
from rounds.algorithms.evidence import evidence_of, information_value, weights_of_evidence

columns = st.lists(st.one_of(st.floats(-100, 100), st.integers(0, 4).map(float)), min_size=10, max_size=120)
counts = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12)


def pooled(banks: list[np.ndarray], labels: list[np.ndarray] | None = None, resolution: int = 20) -> PooledCells:
    return pool_cells([
        count_cells(column, labels[i] if labels else None, min_cell=5, resolution=resolution) for i, column in enumerate(banks)
    ])  # fmt: skip


@settings(max_examples=200)
@given(st.lists(columns, min_size=1, max_size=4))
def test_shares_are_true_to_the_stated_error(banks) -> None:
    together = np.concatenate(banks)
    cells = pooled([np.array(bank) for bank in banks])
    assert cells.total == len(together)
    for point, share in zip(cells.points, cells.shares, strict=True):
        # values count as the four digits that they round up to
        low = np.mean(together <= point * (1 - np.sign(point) * 1e-3))
        true = np.mean(together <= point)
        assert share <= true + 1e-9
        assert low <= share + cells.rank_error([point]) + 1e-9


def test_bins_add_up_by_bank() -> None:
    rng = np.random.default_rng(0)
    banks = [rng.normal(i, 1, 400) for i in range(3)]
    labels = [(rng.random(400) < 0.3).astype(np.int8) for _ in banks]
    cells = pooled(banks, labels)
    edges = quantile_edges(cells, even_levels(5))
    customers, bad = cells.in_bins(edges)
    assert customers.sum(axis=1).tolist() == [400] * 3
    assert bad.sum(axis=1).tolist() == [int(part.sum()) for part in labels]
    assert np.abs(customers.sum(axis=0) / 1200 - 0.2).max() < 0.05


def test_a_value_that_many_share_is_cut_off_on_both_sides() -> None:
    column = np.array([0.0] * 300 + list(np.linspace(-50, -1, 100)) + list(np.linspace(1, 50, 100)))
    edges = quantile_edges(pooled([column] * 3), even_levels(10))
    assert 0.0 in edges
    assert edges[edges.index(0.0) - 1] == pytest.approx(-1, abs=3)


@settings(max_examples=100)
@given(st.lists(columns, min_size=3, max_size=5), st.integers(1, 3))
def test_every_bin_is_borne_by_enough_banks(banks, min_banks) -> None:
    cells = pooled([np.array(bank) for bank in banks])
    edges = merged_edges(cells, quantile_edges(cells, even_levels(10)), sound_bins(min_banks, 5))
    customers, _ = cells.in_bins(edges)
    assert (np.count_nonzero(customers >= 5, axis=0) >= min_banks).all()


def test_a_bin_that_one_bank_alone_fills_is_merged() -> None:
    rng = np.random.default_rng(1)
    banks = [rng.uniform(0, 1, 300), rng.uniform(0, 1, 300), np.concatenate([rng.uniform(0, 1, 150), rng.uniform(90, 99, 150)])]
    edges = merged_edges(cells := pooled(banks), quantile_edges(cells, even_levels(10)), sound_bins(3, 5))
    assert max(edges) <= 1


@given(counts, st.booleans())
def test_monotonic_bins_are_monotonic(pairs, rising) -> None:
    good, bad = (np.array(part) for part in zip(*((g + 1, b) for g, b in pairs), strict=True))
    edges = [float(i) for i in range(len(good) - 1)]
    kept = monotonic_edges(edges, good, bad, rising=rising)
    assert set(kept) <= set(edges)
    starts = [0, *(edges.index(edge) + 1 for edge in kept)]
    g, b = (np.add.reduceat(part, starts) for part in (good, bad))
    steps = np.diff(b / (g + b))
    assert (steps > 0).all() if rising else (steps < 0).all()


def test_evidence_is_golden() -> None:
    """Siddiqi's definition, with ten customers of the overall share of bads added to each bin."""
    good, bad = np.array([80, 10]), np.array([20, 40])
    weights = weights_of_evidence(good, bad)
    share = 90 / 150
    first = math.log(((80 + 10 * share) / (90 + 10 * share)) / ((20 + 10 * (1 - share)) / (60 + 10 * (1 - share))))
    assert weights[0] == pytest.approx(first)
    assert information_value(good, bad) == pytest.approx((80 / 90 - 20 / 60) * weights[0] + (10 / 90 - 40 / 60) * weights[1])
    listed, iv = evidence_of(np.array([80, 10, 0]), np.array([20, 40, 0]))
    assert (listed[2].woe, listed[2].good) == (0.0, 0)
    assert iv > 0


@given(counts)
def test_information_is_never_negative_and_small_bins_weigh_little(pairs) -> None:
    good, bad = (np.array(part) for part in zip(*((g + 1, b + 1) for g, b in pairs), strict=True))
    assert information_value(good, bad) >= 0
    assert np.isfinite(weights_of_evidence(good, bad)).all()
    assert abs(weights_of_evidence(np.append(good, 0), np.append(bad, 0))[-1]) < 1e-9
