"""Protected statistics: one customer moves what is released by at most what the noise is made for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.data.table import Categories, Table
from clientagent.privacy.statistics import (
    OF_A_NUMBER,
    protected_category,
    protected_number,
    protected_statistics,
    sensitivity,
    sums_of,
)
from clientagent.rehearsal.knowledge import bounds_of, with_knowledge
from clientagent.wire.errors import PrivacyUnsound
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.privacy.terms import record_terms
from tests.agent.private import private_plan

KEY = bytes(range(32))
BOUNDS = {"income": (0.0, 100.0)}


def a_table(rows: int = 5000) -> Table:
    rng = np.random.default_rng(0)
    income = rng.normal(50, 10, rows)
    region = Categories(rng.choice([0, 1, 2], rows, p=[0.7, 0.299, 0.001]).astype(np.int32), ["a", "b", "c"])
    return Table(rows, {"income": income}, {"region": region}, (income < 45).astype(np.int8))


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), min_size=1, max_size=20),
    bounds=st.sampled_from([(0.0, 100.0), (-1e6, 3.0), (5.0, 5.5)]),
)
def test_one_customer_moves_the_sums_of_a_number_by_no_more_than_stated(values, bounds):
    column = np.array(values)
    moved = sums_of(column, bounds) - sums_of(column[1:], bounds)
    assert float(np.sum(moved**2)) <= OF_A_NUMBER + 1e-6


def test_sensitivity_counts_what_is_released():
    assert sensitivity(private_plan({"statistics": 0.1, "bounds": BOUNDS})) == pytest.approx(np.sqrt(2 + 1))
    assert sensitivity(private_plan({"statistics": 0.1})) == 1
    balanced = private_plan({"statistics": 0.1, "bounds": BOUNDS}, training__class_weight="balanced")
    assert sensitivity(balanced) == pytest.approx(np.sqrt(2 + 1 + 1))


def test_moments_are_near_the_truth_where_there_are_rows_enough():
    column = a_table().numeric["income"]
    found = protected_number("income", column, BOUNDS["income"], 5, 30.0, Stream(KEY))
    assert found.count == 5000
    assert found.missing == 0
    assert found.mean == pytest.approx(50, abs=2)
    assert np.sqrt(found.m2 / found.count) == pytest.approx(10, rel=0.5)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(0, 60), sigma=st.floats(0.1, 1e4), gaps=st.floats(0, 1), seed=st.integers(0, 99))
def test_however_loud_the_noise_the_report_is_one_that_the_portal_accepts(rows, sigma, gaps, seed):
    rng = np.random.default_rng(seed)
    column = rng.normal(50, 10, rows)
    column[rng.random(rows) < gaps] = np.nan
    found = protected_number("income", column, (0.0, 100.0), 5, sigma, Stream(bytes([seed]) * 32))
    assert found.count + found.missing <= rows
    assert all(cell == 0 or cell >= 5 for cell in (found.missing,))
    assert found.m2 >= 0
    assert 0 <= found.mean <= 100


def test_a_category_of_one_customer_is_not_named_and_large_ones_are():
    column = a_table().categorical["region"]
    found = protected_category("region", column, 120.0, 20.0, Stream(KEY))
    assert set(found.counts) == {"a", "b"}
    assert sum(found.counts.values()) <= 5000
    lonely = Categories(np.zeros(1, np.int32), ["secret"])
    assert not any(protected_category("r", lonely, 120.0, 20.0, Stream(bytes([i]) * 32)).counts for i in range(100))


def test_listed_categories_need_no_counts_and_cost_nothing():
    features = [{"name": "income", "kind": "numeric"}, {"name": "region", "kind": "categorical", "categories": ["a", "b"]}]
    plan = private_plan({"statistics": 0.1, "bounds": BOUNDS}, features=features)
    found = protected_statistics(plan, a_table(), record_terms(plan, 5000), Stream(KEY))
    assert found.categorical[0].counts == {}
    assert sensitivity(plan) == pytest.approx(np.sqrt(2))


def test_positives_are_counted_with_noise_only_where_the_plan_balances():
    table = a_table()
    plain = private_plan({"statistics": 0.1, "bounds": BOUNDS})
    assert protected_statistics(plain, table, record_terms(plain, 5000), Stream(KEY)).positives is None
    plan = private_plan({"statistics": 0.1, "bounds": BOUNDS}, training__class_weight="balanced")
    positives = protected_statistics(plan, table, record_terms(plan, 5000), Stream(KEY)).positives
    assert positives is not None
    assert positives != table.positives


def test_statistics_without_a_budget_are_not_called_protected():
    plan = private_plan()
    with pytest.raises(PrivacyUnsound):
        protected_statistics(plan, a_table(), record_terms(plan, 5000), Stream(KEY))


def test_a_rehearsal_guesses_round_bounds_and_lists_of_categories():
    table = a_table()
    plan = with_knowledge(private_plan({"statistics": 0.1}), table.numeric, table.categorical)
    assert plan.privacy.record_dp is not None
    low, high = plan.privacy.record_dp.bounds["income"]
    assert (low, high) == (20, 75)
    assert plan.features[1].categories == ["a", "b", "c"]


@pytest.mark.parametrize("column", [np.array([3.0, 3.0]), np.array([np.nan]), np.array([0.0] * 999 + [1.0])])
def test_bounds_of_odd_columns_are_in_order(column):
    low, high = bounds_of(column)
    assert low < high
