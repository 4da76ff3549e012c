"""One table becomes the tables of several banks: every row in at most one, the same for the same seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.rehearsal import split
from clientagent.rehearsal.split import by_skew, slugs
from clientagent.wire.errors import DataUnfit
from clientagent.wire.plan import parse_plan

ROWS = 400


def table(path: Path, **columns: Any) -> Path:
    names = [("Östbank", "ÖSTBANK", "工商", None)[i % 7 % 4] for i in range(ROWS)]
    base = {"row": np.arange(ROWS), "default": np.arange(ROWS) % 4 // 3, "bank": names}
    parquet.write_table(pa.table({**base, **columns}), path)
    return path


def made(path: Path, out: Path, **changes: Any) -> list[dict[str, Any]]:
    options: dict[str, Any] = {"label": "default", "positive": None, "by": None, "top": 8, "banks": None, "skew": "iid"}
    options |= {"seed": 0}
    result: list[dict[str, Any]] = json.loads(split.run(data=str(path), out=str(out), **{**options, **changes}))
    return result


def rows_of(bank: dict[str, Any]) -> list[int]:
    return parquet.read_table(bank["path"]).column("row").to_pylist()


def test_the_largest_values_of_a_column_become_institutions(tmp_path: Path) -> None:
    banks = made(table(tmp_path / "t.parquet"), tmp_path / "out", by="bank")
    assert [(bank["institution"], bank["name"]) for bank in banks] == [
        ("ostbank", "Östbank"), ("ostbank-2", "ÖSTBANK"), ("bank-3", "工商"),
    ]  # fmt: skip
    assert [bank["rows"] for bank in banks] == [115, 114, 114]
    assert parquet.read_schema(banks[0]["path"]).names == ["row", "default"]
    assert rows_of(banks[2]) == [i for i in range(ROWS) if i % 7 % 4 == 2]


def test_only_the_top_values_are_taken(tmp_path: Path) -> None:
    assert [bank["name"] for bank in made(table(tmp_path / "t.parquet"), tmp_path / "out", by="bank", top=1)] == ["Östbank"]


@pytest.mark.parametrize("skew", ["iid", "label:0.1", "quantity:0.5", "quantity:1"])
def test_a_skew_gives_each_row_to_one_bank_and_the_same_for_the_same_seed(tmp_path: Path, skew: str) -> None:
    path = table(tmp_path / "t.parquet")
    banks, again, other = (made(path, tmp_path / str(i), banks=4, skew=skew, seed=seed) for i, seed in enumerate((5, 5, 6)))
    assert [bank["institution"] for bank in banks] == ["bank-1", "bank-2", "bank-3", "bank-4"]
    assert sorted(row for bank in banks for row in rows_of(bank)) == list(range(ROWS))
    assert [rows_of(bank) for bank in banks] == [rows_of(bank) for bank in again]
    assert [rows_of(bank) for bank in banks] != [rows_of(bank) for bank in other]


def test_a_quantity_skew_makes_each_bank_that_many_times_the_one_before(tmp_path: Path) -> None:
    banks = made(table(tmp_path / "t.parquet"), tmp_path / "out", banks=3, skew="quantity:0.5")
    assert [bank["rows"] for bank in banks] == pytest.approx([400 * 4 / 7, 400 * 2 / 7, 400 / 7], abs=1.5)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000), st.sampled_from([0.001, 0.05, 0.5, 5.0]))
def test_a_label_skew_leaves_each_bank_some_of_each_class(banks: int, seed: int, alpha: float) -> None:
    positives = np.arange(600) % 5 == 0
    parts = by_skew(positives, banks, f"label:{alpha}", np.random.default_rng(seed))
    assert sorted(np.concatenate(parts)) == list(range(600))
    assert min(min(positives[part].sum(), (~positives[part]).sum()) for part in parts) >= 5


def test_a_strong_label_skew_gives_banks_different_rates() -> None:
    positives = np.arange(4000) % 5 == 0
    parts = by_skew(positives, 6, "label:0.3", np.random.default_rng(1))
    rates = [positives[part].mean() for part in parts]
    assert max(rates) - min(rates) > 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "either --by COLUMN or --banks N"), ({"by": "bank", "banks": 2}, "either --by COLUMN or --banks N"),
        ({"by": "nowhere"}, "got nowhere"), ({"by": "default"}, "not the label"), ({"by": "bank", "top": 0}, "got none"),
        ({"by": "empty"}, "got none"), ({"banks": 0}, "1 to 400 banks"), ({"banks": 401}, "1 to 400 banks"),
        ({"banks": 3, "skew": "odd:1"}, "got odd:1"), ({"banks": 3, "skew": "label:x"}, "got label:x"),
        ({"banks": 3, "skew": "quantity:0"}, "got quantity:0"), ({"banks": 3, "skew": "label:nan"}, "got label:nan"),
        ({"banks": 30, "skew": "quantity:0.5"}, "none for bank-"), ({"label": "nope", "banks": 2}, "got nope"),
        ({"banks": 100}, "at least 10 rows with a label for each of 100 banks, got 4 for bank-"),
    ],
)  # fmt: skip
def test_a_split_that_cannot_be_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataUnfit, match=message):
        made(table(tmp_path / "t.parquet", empty=pa.nulls(ROWS)), tmp_path / "out", **changes)


@given(st.lists(st.text(max_size=80), min_size=1, max_size=12))
def test_any_names_become_distinct_slugs(names: list[str]) -> None:
    made_of = slugs(names)
    features = [{"name": "x", "kind": "numeric"}]
    privacy = {"min_banks": 1, "min_banks_reason": "a test"}
    plan = parse_plan({"project": "p", "features": features, "label": {"name": "y"}, "participants": made_of, "privacy": privacy})
    assert list(plan.participants) == made_of
