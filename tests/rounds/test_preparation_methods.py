"""Each way to prepare numbers, from banks' tables to inputs, on columns as banks have them."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest

from clientagent.data import Categories, Table, split_rows
from clientagent.preparation.preprocess import check_spec, preprocess
from clientagent.preparation.statistics import statistics_report
from clientagent.wire.errors import ManifestMismatch, PlanInvalid, StatisticsInvalid
from clientagent.wire.messages import PreprocessingSpec, StatisticsReport
from clientagent.wire.plan import Plan, parse_plan
from rounds.algorithms.preprocessing import pool_statistics
from rounds.algorithms.reports import check_report

BANKS = ["east", "north", "south", "west"]
METHODS = ("zscore", "quantile", "bins", "piecewise", "woe")
COLUMNS = ("smooth", "heavy", "zeros", "constant", "empty", "holes", "flag")


def plan_of(method: str, **changes: Any) -> Plan:
    numbers = [{"name": name, "kind": "numeric"} for name in COLUMNS]
    return parse_plan({
        "project": "retail", "label": {"name": "default"}, "participants": BANKS,
        "features": [*numbers, {"name": "region", "kind": "categorical"}],
        "preprocessing": {"numeric": method}, "model": {"family": "logistic"}, **changes,
    })  # fmt: skip


def table_of(rows: int, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    smooth = rng.normal(50, 10, rows)
    heavy = np.exp(rng.normal(0, 3, rows))
    heavy[0] = 1e90
    holes = np.where(rng.random(rows) < 0.4, np.nan, rng.normal(0, 1, rows))
    columns = {
        "smooth": smooth, "heavy": heavy, "zeros": np.where(rng.random(rows) < 0.6, 0, rng.uniform(0, 9, rows)),
        "constant": np.full(rows, 3.0), "empty": np.full(rows, np.nan), "holes": holes,
        "flag": (rng.random(rows) < 0.3).astype(float),
    }  # fmt: skip
    region = Categories(rng.integers(-1, 3, rows).astype(np.int32), ["a", "b", "c"])
    bad = rng.random(rows) < 1 / (1 + np.exp(0.15 * (smooth - 42)))
    return Table(rows, columns, {"region": region}, bad.astype(np.int8))


def reports(plan: Plan, rows: int = 400) -> list[StatisticsReport]:
    made = []
    for i, bank in enumerate(BANKS):
        table = table_of(rows if i else 50, i)
        made.append(
            statistics_report(plan, table, split_rows(plan, table), run=str(uuid.uuid4()), institution=bank, salt=bank)
        )
    return made


def spec_of(plan: Plan) -> PreprocessingSpec:
    return pool_statistics(plan, reports(plan))


@pytest.mark.parametrize("method", METHODS)
def test_outliers_constants_holes_and_empty_columns_become_finite_inputs(method: str) -> None:
    plan = plan_of(method)
    spec = spec_of(plan)
    check_spec(plan, spec)
    assert PreprocessingSpec.model_validate_json(spec.model_dump_json()) == spec
    names = [entry.name for entry in spec.numeric]
    assert "empty" not in names
    assert {"smooth", "heavy", "zeros", "holes", "flag"} <= set(names)
    matrix = preprocess(spec, table_of(300, 9))
    assert matrix.shape == (300, len(spec.input_names))
    assert matrix.dtype == np.float32
    assert np.isfinite(matrix).all()
    assert np.abs(matrix).max() <= 8
    alone = [f"{name} (missing)" in spec.input_names for name in ("holes", "smooth")]
    assert alone == [method != "woe", False]


@pytest.mark.parametrize("method", METHODS)
def test_a_table_is_compared_by_a_profile(method: str) -> None:
    for entry in spec_of(plan_of(method)).numeric:
        profile = entry.profile
        assert profile is not None
        assert sum(profile.shares) + profile.missing == pytest.approx(1)
        assert profile.rank_error < (0.1 if method == "zscore" else 0.04)


def test_normal_scores_are_near_normal_and_rise() -> None:
    plan = plan_of("quantile", preprocessing={"numeric": "quantile", "bins": 50})
    entry = next(entry for entry in spec_of(plan).numeric if entry.name == "heavy")
    assert entry.method == "quantile"
    assert entry.scores == sorted(entry.scores)
    assert entry.beyond > entry.scores[-1]
    scores = preprocess(spec_of(plan), table_of(2000, 7))[:, spec_of(plan).input_names.index("heavy")]
    assert abs(scores.mean()) < 0.1
    assert 0.85 < scores.std() < 1.1


def test_ramps_are_those_of_the_paper() -> None:
    """Gorishniy et al. 2022, equation 1: 1 below the value's segment, the fraction in it, 0 above."""
    spec = spec_of(plan_of("piecewise"))
    entry = next(entry for entry in spec.numeric if entry.name == "smooth")
    assert entry.method == "piecewise"
    low, high = entry.knots[2], entry.knots[3]
    table = table_of(1, 0)
    table.numeric["smooth"][:] = low + (high - low) / 4
    ramps = preprocess(spec, table)[0, : len(entry.knots) - 1]
    assert ramps.tolist() == pytest.approx([1, 1, 0.25] + [0] * (len(entry.knots) - 4))


def test_bins_light_one_input() -> None:
    spec = spec_of(plan_of("bins"))
    entry = next(entry for entry in spec.numeric if entry.name == "smooth")
    at = [spec.input_names.index(name) for name in entry.input_names]
    assert (preprocess(spec, table_of(200, 3))[:, at].sum(axis=1) == 1).all()


def test_evidence_orders_customers_by_risk() -> None:
    spec = spec_of(plan_of("woe"))
    entry = next(entry for entry in spec.numeric if entry.name == "smooth")
    assert entry.method == "woe"
    assert entry.iv > 0.3
    table = table_of(1000, 5)
    weights = preprocess(spec, table)[:, spec.input_names.index("smooth (evidence)")]
    assert weights[table.labels == 1].mean() < 0 < weights[table.labels == 0].mean()
    worst = next(entry for entry in spec.numeric if entry.name == "constant")
    assert worst.method == "woe"
    assert worst.iv < 1e-6


def test_categories_may_weigh_evidence_too() -> None:
    plan = plan_of("zscore", preprocessing={"categorical": "woe"})
    spec = spec_of(plan)
    assert spec.categorical[0].method == "woe"
    assert spec.input_names[-1] == "region (evidence)"
    entry = spec.categorical[0]
    column = preprocess(spec, table_of(100, 4))[:, -1]
    expected = {round(e.woe, 5) for e in (*entry.bins, entry.missing)}
    assert {round(float(value), 5) for value in column} <= expected


def test_without_bads_evidence_is_refused_with_the_reason() -> None:
    plan = plan_of("woe")
    clean = [report.model_copy(update={"numeric": [_all_good(number) for number in report.numeric]}) for report in reports(plan)]
    with pytest.raises(StatisticsInvalid, match="smooth: good and bad customers to weigh evidence by"):
        pool_statistics(plan, clean)


def _all_good(number: Any) -> Any:
    cells = number.cells and number.cells.model_copy(update={"bad": [0] * len(number.cells.customers)})
    return number.model_copy(update={"cells": cells, "missing_bad": 0})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cells": None}, "smooth: cells, of which woe is made"),
        ({"upper": [1.23456]}, "smooth: cells, all but the last|smooth: ascending ends of four"),
        ({"customers": [3]}, "smooth: cells, all but the last|smooth: cells of"),
        ({"bad": [10**6]}, "smooth: no more positives than customers"),
        ({"single": [10**6]}, "smooth: single cells that have an upper end"),
    ],
)
def test_cells_that_cannot_be_are_refused(change: dict[str, Any], reason: str) -> None:
    plan = plan_of("woe")
    report = reports(plan)[1]
    smooth = report.numeric[0]
    assert smooth.cells is not None
    cells = None if "cells" in change else smooth.cells.model_copy(update=change)
    forged = report.model_copy(update={"numeric": [smooth.model_copy(update={"cells": cells}), *report.numeric[1:]]})
    with pytest.raises(StatisticsInvalid, match=reason):
        check_report(plan, forged)


def test_positives_are_not_told_where_the_plan_does_not_weigh_evidence() -> None:
    plan = plan_of("piecewise")
    report = reports(plan)[1]
    assert all(number.cells is None or not number.cells.bad for number in report.numeric)
    weighing = reports(plan_of("woe"))[1].model_copy(update={"plan_hash": plan.hash})
    with pytest.raises(StatisticsInvalid, match="no positives in this plan"):
        check_report(plan, weighing)


def test_a_specification_by_another_method_is_refused() -> None:
    plan = plan_of("woe")
    forged = spec_of(plan_of("zscore")).model_copy(update={"plan_hash": plan.hash})
    with pytest.raises(ManifestMismatch, match="numeric features prepared by woe"):
        check_spec(plan, forged)


def test_exact_counts_and_record_level_privacy_do_not_go_together() -> None:
    from clientagent.wire.combinations import require_combinable

    with pytest.raises(PlanInvalid, match="choose zscore"):
        require_combinable(plan_of("woe", privacy={"record_dp": {"epsilon": 1.0}}))
