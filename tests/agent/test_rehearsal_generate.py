"""The demo's data behave like the real thing: banks that differ, gaps, categories, rare fraud; the same for the same seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml

from clientagent.data import check_table
from clientagent.rehearsal import draft, generate
from clientagent.wire.plan import parse_plan

SCENARIOS = ["credit", "fraud"]


def made(scenario: str, out: Path, seed: int = 0) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(generate.run(scenario=scenario, out=str(out), seed=seed))
    return result


def tables(world: dict[str, Any]) -> list[Any]:
    return [parquet.read_table(bank["path"]) for bank in world["banks"]]


def rate(table: Any, label: str) -> float:
    return float(np.mean(table.column(label).to_numpy()))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_seed_makes_the_same_data(tmp_path: Path, scenario: str) -> None:
    one, again, other = (tables(made(scenario, tmp_path / str(i), seed)) for i, seed in enumerate((7, 7, 8)))
    assert all(mine.equals(theirs) for mine, theirs in zip(one, again, strict=True))
    assert not one[0].equals(other[0])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_bank_fits_a_plan_drafted_from_one_of_them(tmp_path: Path, scenario: str) -> None:
    world = made(scenario, tmp_path)
    banks = world["banks"]
    text = draft.run(
        data=banks[0]["path"], label=world["label"]["name"], positive=str(world["label"]["positive"]), drop=None,
        categorical=None, by=None, participants=",".join(bank["slug"] for bank in banks), project="demo",
    )  # fmt: skip
    plan = parse_plan(yaml.safe_load(text))
    reports = [check_table(plan, bank["path"]) for bank in banks]
    assert [report.problems for report in reports] == [[]] * 4
    assert [report.rows for report in reports] == [bank["rows"] for bank in banks]
    assert "# left out" not in text


def test_banks_differ_in_size_customers_and_default_rate(tmp_path: Path) -> None:
    world = made("credit", tmp_path)
    banks = tables(world)
    rates = [rate(table, "default") for table in banks]
    assert 0.03 < min(rates) < max(rates) < 0.5
    assert max(rates) - min(rates) > 0.05
    sizes = [table.num_rows for table in banks]
    assert max(sizes) > 2 * min(sizes)
    ages = [np.mean(table.column("age").to_numpy()) for table in banks]
    assert max(ages) - min(ages) > 10


def test_credit_applications_have_gaps_categories_and_columns_that_go_together(tmp_path: Path) -> None:
    north = tables(made("credit", tmp_path))[0]
    assert north.column("monthly_income").null_count > 0
    assert 3 <= len(north.column("purpose").unique()) <= 10
    income, savings = (north.column(name).to_numpy(zero_copy_only=False).astype(float) for name in ("monthly_income", "savings"))
    both = ~np.isnan(income) & ~np.isnan(savings)
    assert np.corrcoef(np.log(income[both]), np.log(savings[both]))[0, 1] > 0.2


def test_fraud_has_thirty_features_and_is_rare(tmp_path: Path) -> None:
    world = made("fraud", tmp_path)
    banks = tables(world)
    assert all(len(table.column_names) == 31 for table in banks)
    assert 0.005 < np.average([rate(table, "fraud") for table in banks], weights=[table.num_rows for table in banks]) < 0.02
