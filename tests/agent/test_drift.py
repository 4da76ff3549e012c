"""``fedagent check`` says how far a table has moved since the preprocessing was frozen."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.data import Categories, Table, split_rows
from clientagent.preparation.drift import Basis, Drift, drift_of, population_stability
from clientagent.preparation.statistics import statistics_report
from rounds.algorithms.preprocessing import pool_statistics
from tests.agent.given import run_agent, write_table
from tests.agent.tables import plan_of, random_table
from tests.agent.test_cli import as_json, fedagent

shares = st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda parts: sum(parts) > 0.1)


def basis(**changes) -> Basis:
    plan = plan_of(**changes)
    reports = []
    for i, bank in enumerate(plan.participants):
        table = random_table(800, i)
        made = statistics_report(plan, table, split_rows(plan, table), run=str(uuid.uuid4()), institution=bank, salt=bank)
        reports.append(made)
    return Basis("a run", pool_statistics(plan, reports), reports[1])


def found(basis: Basis, table: Table) -> dict[str, Drift]:
    return {one.feature: one for one in drift_of(basis, table)}


@given(shares)
def test_what_has_not_moved_has_no_index_and_moving_costs_both_ways(parts) -> None:
    then = np.array(parts) / sum(parts)
    assert population_stability(then, then, 1000) == pytest.approx(0, abs=1e-12)
    now = then[::-1]
    there, back = population_stability(then, now, 1000), population_stability(now, then, 1000)
    assert there == pytest.approx(back)
    assert there >= 0


@pytest.mark.parametrize("method", ["zscore", "quantile", "bins", "piecewise", "woe"])
def test_the_same_customers_are_stable_and_others_are_not(method: str) -> None:
    then = basis(preprocessing__numeric=method)
    same = found(then, random_table(800, 1))
    assert {one.verdict for one in same.values()} == {"stable"}
    moved = random_table(800, 1)
    moved.numeric["income"][:] += 15
    moved.numeric["age"][:400] = np.nan
    after = found(then, moved)
    assert after["income"].verdict == "shifted"
    assert after["age"].verdict == "shifted"
    assert (after["age"].missing, after["age"].missing_then) == (0.5, 0.0)
    assert after["region"].verdict == "stable"
    assert drift_of(then, moved)[0].feature in ("income", "age")


def test_values_that_nobody_had_are_told() -> None:
    then = basis(features=[
        {"name": "income", "kind": "numeric"}, {"name": "age", "kind": "numeric"},
        {"name": "region", "kind": "categorical", "categories": ["a", "b", "c", "d"]},
    ])  # fmt: skip
    table = random_table(100, 1)
    table.categorical["region"] = Categories(np.zeros(100, np.int32), ["mars"])
    assert found(then, table)["region"].unknown == 1.0


def test_without_counted_cells_nothing_is_claimed() -> None:
    then = basis()
    bare = then.spec.model_copy(update={"numeric": [entry.model_copy(update={"profile": None}) for entry in then.spec.numeric]})
    assert found(Basis("a run", bare, None), random_table(100, 1))["income"].verdict == "unknown"


def test_the_command_shows_it(portal, bank) -> None:
    home = bank(portal)
    run_agent(home)
    code, (result,) = as_json("check", home=home)
    assert code == 0
    assert {one["feature"] for one in result["drift"]["features"]} == {"income", "region"}
    write_table(home.path / "table.csv", seed=3, region=["a"] * 200)
    done = fedagent("check", home=home)
    assert done.returncode == 0
    assert "Shifted: region" in done.stdout
