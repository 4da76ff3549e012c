"""Statistics as coordinates of a sum: exact whatever the numbers, within the ring by construction, and read out without a list."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire import messages as m
from clientagent.wire.errors import CohortMismatch, StatisticsInvalid
from clientagent.wire.masking import Ring, most_rows_for, most_rows_offered, opened_statistics, statistics_integers, statistics_segments
from clientagent.wire.masking.sketch import cells_for, emptied, filled
from tests.wire.given import a_plan

PLAN = a_plan(privacy__secure_aggregation={})
values = st.floats(-1e20, 1e20, allow_nan=False).map(lambda x: float(f"{x:.9g}"))


def report(bank: int, rows: int, mean: float = 1.0, m2: float = 1.0, counts: dict[str, int] | None = None) -> m.StatisticsReport:
    return m.StatisticsReport(
        run="00000000-0000-0000-0000-000000000000", plan_hash=PLAN.hash, institution=f"bank-{bank}", rows=rows, validation_rows=1,
        holdout_rows=1, data_digest="0" * 64, numeric=[m.NumericStatistics(name="income", count=rows, mean=mean, m2=m2, missing=0)],
        categorical=[m.CategoricalStatistics(name="region", counts=counts or {}, other=0, missing=0)],
    )


def summed(reports: list[m.StatisticsReport]):
    ring = Ring(len(reports), statistics_segments(PLAN, most_rows=most_rows_for(max(one.rows for one in reports))))
    total = np.zeros(ring.words, np.uint32)
    for one in reports:
        total += ring.encode(statistics_integers(PLAN, one))
    return opened_statistics(PLAN, ring.decode(total, len(reports)), banks=len(reports))


@given(st.lists(st.tuples(st.integers(5, 10**6), values, values.map(abs)), min_size=3, max_size=6))
def test_sums_of_numbers_of_any_size_are_exact(banks):
    found = summed([report(i, rows, mean, m2) for i, (rows, mean, m2) in enumerate(banks)]).numbers[0]
    rows = sum(count for count, *_ in banks)
    total = sum(count * Fraction(mean) for count, mean, _ in banks)
    squares = sum(Fraction(m2) + count * Fraction(mean) ** 2 for count, mean, m2 in banks)
    assert (found.count, found.holders) == (rows, len(banks))
    assert abs(found.total - total) <= len(banks) * Fraction(1, 2**73)
    assert abs(found.squares - squares) <= len(banks) * Fraction(1, 2**145)


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(st.lists(st.dictionaries(names, st.integers(5, 500), max_size=30), min_size=3, max_size=5))
def test_categories_that_no_plan_lists_are_read_out_of_the_sum(banks):
    found = summed([report(i, 20_000, counts=counts) for i, counts in enumerate(banks)]).categories[0]
    wanted = {name: sum(bank.get(name, 0) for bank in banks) for bank in banks for name in bank}
    holders = {name: sum(name in bank for bank in banks) for name in wanted}
    assert {name: told.customers for name, told in found.told.items()} == wanted
    assert {name: told.holders for name, told in found.told.items()} == holders


def test_more_categories_than_have_room_are_refused_by_their_column():
    cells = filled({f"category {i}": (1, 0) for i in range(400)}, cells_for(100), salt="s")
    with pytest.raises(StatisticsInvalid, match="region"):
        emptied(cells, salt="s", column="region")


def test_a_number_too_large_is_refused_by_its_column_and_without_its_value():
    with pytest.raises(StatisticsInvalid, match="income") as refused:
        statistics_integers(PLAN, report(0, 10, mean=1e30))
    assert "1e+30" not in refused.value.sentence


@pytest.mark.parametrize("most", [64, 1000, 2**41])
def test_a_bank_refuses_room_for_rows_that_is_too_small_odd_or_absurd(most):
    with pytest.raises(CohortMismatch):
        most_rows_offered(statistics_segments(PLAN, most_rows=most), 100)
