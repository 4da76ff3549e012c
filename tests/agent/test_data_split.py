"""A row's place in the split follows from its content: not from its position, the file's format or the plan's order."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.data import Categories, Split, Table, read_table, split_rows
from clientagent.data.splits import part_sizes, row_hashes
from tests.agent.tables import plan_of, random_table

seeds = st.integers(0, 2**32 - 1)


def contents(table: Table, rows: np.ndarray) -> list[tuple]:
    """The rows themselves, in a comparable order."""
    part = table.take(rows)
    region = part.categorical["region"]
    texts = [region.values[code] if code >= 0 else "" for code in region.codes]
    columns = [np.nan_to_num(column, nan=-1.0) for column in part.numeric.values()]
    return sorted(zip(*columns, texts, part.labels, strict=True))


def parts(split: Split) -> tuple[np.ndarray, ...]:
    return split.training, split.validation, split.holdout


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 400), seed=seeds)
def test_every_row_has_exactly_one_place(rows: int, seed: int) -> None:
    split = split_rows(plan_of(), random_table(rows, seed))
    assert sorted(np.concatenate(parts(split))) == list(range(rows))


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(20, 400), seed=seeds)
def test_the_order_of_the_rows_does_not_matter(rows: int, seed: int) -> None:
    table = random_table(rows, seed)
    shuffled = table.take(np.random.default_rng(seed).permutation(rows))
    one, other = split_rows(plan_of(), table), split_rows(plan_of(), shuffled)
    assert one.state == other.state
    for mine, theirs in zip(parts(one), parts(other), strict=True):
        assert contents(table, mine) == contents(shuffled, theirs)


@settings(deadline=None, max_examples=40)
@given(copies=st.lists(st.integers(1, 50), min_size=1, max_size=8), seed=seeds)
def test_equal_rows_are_spread_over_the_parts_in_any_order(copies: list[int], seed: int) -> None:
    distinct = random_table(len(copies), seed)
    table = distinct.take(np.repeat(np.arange(len(copies)), copies))
    shuffled = table.take(np.random.default_rng(seed).permutation(table.rows))
    for mine, theirs in zip(parts(split_rows(plan_of(), table)), parts(split_rows(plan_of(), shuffled)), strict=True):
        assert contents(table, mine) == contents(shuffled, theirs)
    assert len(np.unique(row_hashes(table, "p"), axis=0)) == table.rows


def test_shares_are_kept_in_each_class() -> None:
    table = random_table(5000)
    split = split_rows(plan_of(evaluation__holdout=0.25, evaluation__validation=0.15), table)
    for label in (0, 1):
        rows = (table.labels == label).sum()
        assert [(table.labels[part] == label).sum() for part in parts(split)][1:] == [round(rows * 0.15), round(rows * 0.25)]


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.floats(0.01, 0.5), st.floats(0, 0.3))
def test_each_class_keeps_a_row_to_train_on(rows: int, holdout: float, validation: float) -> None:
    held_out, validating = part_sizes(rows, holdout, validation)
    assert min(held_out, validating) >= 0
    assert held_out + validating < rows or rows == 0
    assert abs(held_out - rows * holdout) <= 1


def test_csv_and_parquet_of_the_same_data_are_split_alike(tmp_path: Path) -> None:
    table = random_table(3000)
    region = table.categorical["region"]
    arrow = pa.table({
        "income": pa.array(table.numeric["income"], from_pandas=True), "age": table.numeric["age"].astype(int),
        "region": [region.values[code] if code >= 0 else None for code in region.codes], "default": table.labels,
    })  # fmt: skip
    parquet.write_table(arrow, tmp_path / "t.parquet")
    pyarrow.csv.write_csv(arrow, tmp_path / "t.csv")
    one, other = (split_rows(plan_of(), read_table(plan_of(), tmp_path / f"t.{kind}")) for kind in ("parquet", "csv"))
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(parts(one), parts(other), strict=True))
    assert one.digest("agent") == other.digest("agent")


def test_neither_the_order_nor_the_kind_of_features_moves_a_row() -> None:
    numbers = np.tile([1.0, 2.0, np.nan, 7.5], 50)
    other, labels = np.arange(200.0), (np.arange(200) % 3 == 0).astype(np.int8)
    as_number = Table(200, {"x": numbers, "y": other}, {}, labels)
    texts = Categories(np.tile([0, 1, -1, 2], 50).astype(np.int32), ["1", "2", "7.5"])
    as_category = Table(200, {"y": other}, {"x": texts}, labels)
    one, two = split_rows(plan_of(), as_number), split_rows(plan_of(), as_category)
    assert np.array_equal(one.holdout, two.holdout)
    assert one.state == two.state


def test_another_project_has_another_split() -> None:
    table = random_table(400)
    assert not np.array_equal(split_rows(plan_of(), table).holdout, split_rows(plan_of(project="fraud"), table).holdout)


def test_a_digest_tells_a_changed_cell_and_hides_equal_tables() -> None:
    table = random_table(50)
    split = split_rows(plan_of(), table)
    assert split.digest("north-agent") != split.digest("south-agent")
    table.numeric["age"][7] += 1
    assert split_rows(plan_of(), table).state != split.state


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_split_in_seconds() -> None:
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=100_000) for i in range(25)}
    table = Table(100_000, columns, {}, (rng.random(100_000) < 0.1).astype(np.int8))
    started = time.process_time()
    split_rows(plan_of(), table)
    assert time.process_time() - started < 2
