"""Pooled statistics: equal to those of all rows in one place, the same in any order, and silent about what few banks have."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.errors import StatisticsInvalid
from clientagent.wire.messages import CategoricalStatistics, NumericStatistics, PreprocessingSpec, StatisticsReport
from clientagent.wire.plan import Plan, parse_plan
from rounds.algorithms.preprocessing import Moments, pool_statistics
from rounds.algorithms.reports import check_report

BANKS = ["east", "north", "south", "west"]
values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def plan_of(**privacy: Any) -> Plan:
    listed = {"name": "grade", "kind": "categorical", "categories": [1, 2.0, "x"]}
    return parse_plan({
        "project": "retail", "label": {"name": "default"}, "participants": BANKS, "privacy": privacy,
        "features": [{"name": "income", "kind": "numeric"}, {"name": "region", "kind": "categorical"}, listed],
    })  # fmt: skip


def report_of(
    bank: str, plan: Plan, *, income: tuple[int, float, float, int] = (100, 0.0, 100.0, 0), region: dict[str, int] | None = None,
    other: int = 0, missing: int = 0, grade: dict[str, int] | None = None, rows: int = 100,
) -> StatisticsReport:
    count, mean, m2, absent = income
    return StatisticsReport(
        run=str(uuid.uuid4()), plan_hash=plan.hash, institution=bank, rows=rows, validation_rows=10, holdout_rows=20,
        numeric=[NumericStatistics(name="income", count=count, mean=mean, m2=m2, missing=absent)],
        categorical=[
            CategoricalStatistics(name="region", counts={"a": 100} if region is None else region, other=other, missing=missing),
            CategoricalStatistics(name="grade", counts=grade or {"1": 100}, other=0, missing=0),
        ],
        data_digest="0" * 64,
    )  # fmt: skip


def pooled(*reports: dict[str, Any], **privacy: Any) -> PreprocessingSpec:
    plan = plan_of(**privacy)
    return pool_statistics(plan, [report_of(bank, plan, **said) for bank, said in zip(BANKS, reports, strict=False)])


@settings(max_examples=200)
@given(st.lists(values, min_size=1, max_size=8))
def test_pooled_moments_are_those_of_all_values_together(banks: list[list[float]]) -> None:
    total = Moments(0, 0.0, 0.0)
    for part in banks:
        total = total.plus(Moments(len(part), float(np.mean(part)), float(np.sum((np.array(part) - np.mean(part)) ** 2))))
    together = np.concatenate(banks)
    size = max(1.0, float(np.abs(together).max()))
    assert total.count == len(together)
    assert total.mean == pytest.approx(together.mean(), abs=1e-9 * size)
    assert total.m2 == pytest.approx(((together - together.mean()) ** 2).sum(), abs=1e-9 * size**2 * len(together))


def test_a_small_bank_far_away_keeps_its_digits() -> None:
    total = Moments(10**9, 1e9, 0.0).plus(Moments(1, 1e9 + 1, 0.0))
    assert (total.mean - 1e9, total.m2) == (pytest.approx(1e-9, abs=1e-6), pytest.approx(1.0))


@given(st.permutations(BANKS))
def test_the_order_of_the_reports_does_not_change_a_bit(order: list[str]) -> None:
    plan = plan_of()
    said = {
        bank: report_of(bank, plan, income=(90, 0.1 * i, 7.7 * i, 10), region={"a": 60, f"{i % 2}": 40})
        for i, bank in enumerate(BANKS)
    }
    assert pool_statistics(plan, [said[bank] for bank in order]) == pool_statistics(plan, [said[bank] for bank in BANKS])


def test_a_constant_has_a_scale_of_one() -> None:
    same = {"income": (100, 0.1, 3e-30, 0)}
    assert pooled(same, same, same).numeric[0].scale == 1.0


def test_missing_values_get_an_indicator_from_min_cell_on() -> None:
    few, none = {"income": (95, 0.0, 9.0, 5)}, {"income": (100, 0.0, 9.0, 0)}
    assert pooled(few, none, none).numeric[0].indicator
    assert not pooled(none, none, none).numeric[0].indicator


def test_a_number_that_too_few_banks_hold_is_left_out() -> None:
    absent, there = {"income": (0, 0.0, 0.0, 100)}, {"income": (100, 5.0, 9.0, 0)}
    assert pooled(there, there, absent).numeric == []
    assert [number.name for number in pooled(there, there, there, absent).numeric] == ["income"]
    assert [number.name for number in pooled(there, absent, absent, min_banks=1, min_banks_reason="a test").numeric] == ["income"]


def test_a_category_that_too_few_banks_hold_is_other() -> None:
    rare, common = {"region": {"a": 60, "rare": 40}}, {"region": {"a": 70, "b": 30}}
    spec = pooled(rare, rare, common, common).categorical[0]
    assert (spec.categories, spec.other, spec.missing) == (["a"], True, False)
    spec = pooled(common, common, common, rare).categorical[0]
    assert (spec.categories, spec.other) == (["a", "b"], True)


def test_without_others_and_missing_ones_there_are_no_such_inputs() -> None:
    spec = pooled({}, {}, {}).categorical[0]
    assert (spec.categories, spec.other, spec.missing) == (["a"], False, False)
    spec = pooled({"region": {"a": 95}, "missing": 5}, {}, {}).categorical[0]
    assert (spec.other, spec.missing) == (False, True)


def test_no_more_than_the_hundred_most_frequent_categories_are_agreed() -> None:
    many = {"region": {str(i): 5 + (i >= 50) for i in range(150)}, "rows": 850}
    spec = pooled(many, many, many).categorical[0]
    assert spec.categories == [str(i) for i in range(50, 150)]
    assert spec.other


def test_categories_are_in_the_order_of_numbers_then_letters() -> None:
    said = {"region": {"10": 20, "b": 20, "2": 20, "a": 20, "-1": 20}}
    assert pooled(said, said, said).categorical[0].categories == ["-1", "2", "10", "a", "b"]


def test_the_plans_own_categories_are_taken_as_listed() -> None:
    spec = pooled({}, {}, {}).categorical[1]
    assert (spec.categories, spec.other) == (["1", "2", "x"], False)


def test_a_feature_that_tells_nothing_is_left_out() -> None:
    alone = [{"region": {bank: 100}} for bank in BANKS]
    assert [category.name for category in pooled(*alone).categorical] == ["grade"]


def test_too_few_reports_are_refused() -> None:
    with pytest.raises(StatisticsInvalid, match="at least 3 banks, got 2"):
        pooled({}, {})


def test_a_bank_counts_once_and_only_if_it_takes_part() -> None:
    plan = plan_of()
    for banks in (["east", "east", "north", "south"], ["east", "north", "south", "outsider"]):
        with pytest.raises(StatisticsInvalid, match="one report of each participant"):
            pool_statistics(plan, [report_of(bank, plan) for bank in banks])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"income": (101, 0.0, 1.0, 0)}, "income: at most 100 customers, got 101"),
        ({"income": (60, 0.0, 1.0, 60)}, "income: at most 100 customers, got 120"),
        ({"income": (4, 0.0, 1.0, 96)}, "income: no number of customers from 1 to 4"),
        ({"income": (100, 1e200, 1.0, 0)}, "income: finite moments of values up to"),
        ({"income": (100, 0.0, 1e300, 0)}, "income: finite moments of values up to"),
        ({"income": (0, 5.0, 0.0, 100)}, "income: no moments without customers"),
        ({"region": {"a": 90, "b": 20}}, "region: at most 100 customers, got 110"),
        ({"region": {"a": 96, "b": 4}}, "region: no number of customers from 1 to 4"),
        ({"region": {"a": 90}, "missing": 2}, "region: no number of customers from 1 to 4"),
        ({"region": {"1.0": 90}}, "region: categories as texts"),
        ({"region": {"": 90}}, "region: categories as texts"),
        ({"region": {"x" * 129: 90}}, "region: at most 1000 categories of 128 letters"),
        ({"region": {str(i): 5 for i in range(1001)}, "rows": 10_000}, "region: at most 1000 categories of 128 letters"),
        ({"grade": {"3": 90}}, "grade: the plan's categories, got 3"),
    ],
)
def test_a_report_that_cannot_be_is_refused(said: dict[str, Any], reason: str) -> None:
    with pytest.raises(StatisticsInvalid, match=reason):
        check_report(plan_of(), report_of("north", plan_of(), **said))


@pytest.mark.parametrize("broken", [{"m2": -1.0}, {"m2": float("nan")}, {"mean": float("inf")}, {"mean": float("nan")}])
def test_moments_that_are_no_moments_are_refused_even_past_the_door(broken: dict[str, float]) -> None:
    report = report_of("north", plan_of())
    forged = report.model_copy(update={"numeric": [report.numeric[0].model_copy(update=broken)]})
    with pytest.raises(StatisticsInvalid, match="income: finite moments"):
        check_report(plan_of(), forged)


def test_a_report_with_other_features_is_refused() -> None:
    report = report_of("north", plan_of())
    for change in ({"numeric": []}, {"categorical": report.categorical[::-1]}, {"numeric": report.numeric * 2}):
        with pytest.raises(StatisticsInvalid):
            check_report(plan_of(), report.model_copy(update=change))
