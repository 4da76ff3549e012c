"""What a bank says about its columns: training rows only, and no small number (invariant 13)."""

from __future__ import annotations

import uuid

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.data import Categories, split_rows
from clientagent.preparation.statistics import categorical_statistics, numeric_statistics, statistics_report
from clientagent.wire.messages import CategoricalStatistics, StatisticsReport
from tests.agent.tables import plan_of, random_table


def report(rows: int = 300, **changes: object) -> StatisticsReport:
    plan, table = plan_of(**changes), random_table(rows)
    return statistics_report(plan, table, split_rows(plan, table), run=str(uuid.uuid4()), institution="north", salt="agent")


def column(counts: dict[str, int], missing: int) -> Categories:
    codes = np.repeat([*range(len(counts)), -1], [*counts.values(), missing]).astype(np.int32)
    return Categories(codes, list(counts))


def counted(name: str, counts: dict[str, int], other: int = 0, missing: int = 0) -> CategoricalStatistics:
    return CategoricalStatistics(name=name, counts=counts, other=other, missing=missing)


def test_only_training_rows_are_looked_at() -> None:
    plan, table = plan_of(), random_table(300)
    split = split_rows(plan, table)
    rest = np.concatenate([split.validation, split.holdout])
    before = statistics_report(plan, table, split, run=str(uuid.uuid4()), institution="north", salt="agent")
    table.numeric["income"][rest], table.categorical["region"].codes[rest] = 1e6, 0
    after = statistics_report(plan, table, split, run=before.run, institution="north", salt="agent")
    assert before == after
    assert (before.rows, before.validation_rows, before.holdout_rows) == tuple(
        len(part) for part in (split.training, split.validation, split.holdout)
    )


def test_moments_are_those_of_the_present_values() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 10.0] * 10 + [np.nan] * 10)
    said = numeric_statistics("x", values, 5)
    assert (said.count, said.mean, said.m2, said.missing) == (50, 4.0, 500.0, 10)


def test_moments_have_nine_digits() -> None:
    said = numeric_statistics("x", np.arange(7) / 3 + 1e-7, 5)
    assert said.mean == 1.0000001
    assert said.m2 == 3.11111111


def test_too_few_missing_values_look_like_the_mean() -> None:
    said = numeric_statistics("x", np.array([1.0, 3.0] * 10 + [np.nan] * 4), 5)
    assert (said.count, said.mean, said.m2, said.missing) == (24, 2.0, 20.0, 0)


def test_too_few_present_values_are_not_told() -> None:
    said = numeric_statistics("x", np.array([1.0] * 4 + [np.nan] * 20), 5)
    assert (said.count, said.mean, said.m2, said.missing) == (0, 0.0, 0.0, 24)


def test_small_categories_are_counted_together() -> None:
    said = categorical_statistics("x", column({"a": 20, "b": 4, "c": 3}, 6), 5)
    assert said == counted("x", {"a": 20}, other=7, missing=6)


def test_an_other_that_is_too_small_goes_to_the_smallest_category() -> None:
    said = categorical_statistics("x", column({"a": 20, "b": 9, "c": 2}, 1), 5)
    assert said == counted("x", {"a": 20, "b": 12})


def test_without_a_category_what_is_small_goes_to_the_missing() -> None:
    assert categorical_statistics("x", column({"a": 2}, 18), 5) == counted("x", {}, missing=20)
    assert categorical_statistics("x", column({"a": 2}, 2), 5) == counted("x", {})


def test_no_more_than_a_thousand_categories_and_no_long_ones_are_told() -> None:
    many = {f"v{i}": 5 + (i < 3) for i in range(1200)} | {"x" * 129: 50}
    said = categorical_statistics("x", column(many, 0), 5)
    assert (len(said.counts), said.other) == (1000, 200 * 5 + 50)
    assert [value for value, count in said.counts.items() if count == 6] == ["v0", "v1", "v2"]


def test_values_that_the_plan_does_not_list_are_other() -> None:
    assert categorical_statistics("x", column({"a": 20, "b": 9}, 0), 5, {"a"}) == counted("x", {"a": 20}, other=9)


@settings(max_examples=200)
@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 30), max_size=12),
    st.integers(0, 30), st.integers(1, 12),
)
def test_no_number_below_min_cell_is_told_and_the_cells_add_up(counts: dict[str, int], missing: int, min_cell: int) -> None:
    said = categorical_statistics("x", column(counts, missing), min_cell)
    cells = [*said.counts.values(), said.other, said.missing]
    assert all(cell == 0 or cell >= min_cell for cell in cells)
    rows = sum(counts.values()) + missing
    assert sum(cells) == rows or (sum(cells) == 0 and rows < min_cell)


def test_the_same_data_give_the_same_report() -> None:
    assert report().model_dump(exclude={"run"}) == report().model_dump(exclude={"run"})
