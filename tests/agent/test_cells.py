"""A column's cells tell its distribution to within one cell, and nobody's value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.preparation.cells import count_cells, grid_points, resolution_of
from clientagent.wire.grid import rounded_to_grid
from tests.agent.tables import plan_of

any_value = st.one_of(
    st.floats(-1e100, 1e100, allow_nan=False), st.integers(-5, 5).map(float), st.floats(2000, 2030), st.just(0.0)
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(any_value, min_size=8, max_size=200), st.integers(1, 8), st.integers(1, 50), st.randoms(use_true_random=False))
def test_cells_hold_enough_and_add_up_and_are_true(values, min_cell, resolution, random) -> None:
    column = np.array(values)
    labels = np.array([random.randint(0, 1) for _ in values], np.int8)
    cells = count_cells(column, labels, min_cell=min_cell, resolution=resolution)
    assert min(cells.customers) >= min_cell
    assert sum(cells.customers) == len(values)
    assert len(cells.customers) - len(cells.upper) in (0, 1)
    assert all(rounded_to_grid(end) == end for end in cells.upper)
    places = np.searchsorted(cells.upper, column, side="left")
    assert cells.customers == np.bincount(places, minlength=len(cells.customers)).tolist()
    assert cells.bad == np.bincount(places, labels, minlength=len(cells.customers)).tolist()


@settings(max_examples=200)
@given(st.lists(any_value, min_size=8, max_size=200), st.integers(2, 8))
def test_no_end_is_beyond_what_enough_customers_share(values, min_cell) -> None:
    cells = count_cells(np.array(values), None, min_cell=min_cell, resolution=50)
    assert all(sum(value >= end * (1 - np.sign(end) * 1e-3) for value in values) >= min_cell for end in cells.upper)


def test_a_value_that_many_share_has_a_cell_of_its_own() -> None:
    values = np.array([0.0] * 40 + [3.0] * 2 + [5.0] * 30 + list(range(100, 130)))
    cells = count_cells(values, None, min_cell=5, resolution=10)
    for value, customers in ((0.0, 40), (5.0, 32)):
        assert cells.customers[cells.upper.index(value)] == customers
    assert cells.upper.index(0.0) in cells.single
    assert len(cells.upper) == len(cells.customers) - 1  # the largest value is nobody's to know


def test_a_constant_is_one_cell() -> None:
    cells = count_cells(np.full(30, 7.5), None, min_cell=5, resolution=20)
    assert (cells.upper, cells.customers, cells.single) == ([7.5], [30], [0])


def test_years_and_small_steps_far_from_zero_stay_apart() -> None:
    cells = count_cells(np.repeat(np.arange(2010.0, 2020.0), 20), None, min_cell=5, resolution=20)
    assert cells.upper == [float(year) for year in range(2010, 2020)]


@pytest.mark.parametrize(("value", "end"), [(0.12345, 0.1235), (-0.12345, -0.1234), (99999.0, 100000.0), (0.0, 0.0), (1e-90, 1e-90)])
def test_ends_are_rounded_up_to_four_digits(value: float, end: float) -> None:
    assert grid_points(np.array([value])).tolist() == [end]


def test_record_level_privacy_leaves_no_exact_cells() -> None:
    assert resolution_of(plan_of(privacy__record_dp={"epsilon": 1.0})) == 0
    assert resolution_of(plan_of()) == 20
    assert resolution_of(plan_of(preprocessing__numeric="woe")) == 200
    many = [{"name": f"x{i}", "kind": "numeric"} for i in range(2000)]
    assert resolution_of(plan_of(preprocessing__numeric="woe", features=many)) == 20
