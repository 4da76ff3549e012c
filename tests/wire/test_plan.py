"""A plan is its hash: same meaning, same hash; and nothing outside its bounds is a plan."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clientagent.wire.canonical import canonical
from clientagent.wire.capabilities import require_supported
from clientagent.wire.errors import PlanInvalid, PlanUnsupported
from clientagent.wire.plan import Plan, as_text, parse_plan, plan_problems
from tests.wire.given import SMALL, a_plan

GOLDEN = "5dccb602341bd08e"  # changes only with the meaning of a default: then every stored plan's hash changes too


def test_the_hash_of_the_small_plan_is_golden():
    assert a_plan().hash[:16] == GOLDEN


def test_saying_a_default_does_not_change_the_hash():
    spoken = json.loads(canonical(a_plan()))
    assert parse_plan(spoken).hash == a_plan().hash
    assert parse_plan(dict(reversed(spoken.items()))).hash == a_plan().hash


def test_a_whole_float_and_an_integer_are_the_same_plan():
    assert a_plan(training__weight_decay=1.0).hash == a_plan(training__weight_decay=1).hash


@given(
    epochs=st.integers(0, 1000), seed=st.integers(0, 2**31 - 1), rate=st.floats(1e-12, 100),
    hidden=st.lists(st.integers(1, 8192), max_size=8), quorum=st.floats(1e-6, 1), bins=st.integers(10, 100_000),
)
def test_a_plan_read_back_from_its_canonical_text_has_the_same_hash(epochs, seed, rate, hidden, quorum, bins):
    plan = a_plan(
        training={"epochs": epochs, "seed": seed, "learning_rate": rate}, model__hidden=hidden,
        schedule__quorum=quorum, evaluation__bins=bins,
    )
    assert Plan.model_validate_json(plan.canonical_text).hash == plan.hash


@given(st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
                          st.integers(-(2**53) + 1, 2**53 - 1), st.floats(-9e15, 9e15), st.booleans()),
                min_size=1, max_size=6, unique_by=as_text))
def test_categories_of_any_type_survive_the_round_trip(categories):
    plan = a_plan(features=[{"name": "region", "kind": "categorical", "categories": categories}])
    again = Plan.model_validate_json(plan.canonical_text)
    assert again.hash == plan.hash
    assert [as_text(v) for v in again.features[0].categories] == [as_text(v) for v in categories]


def test_any_change_makes_another_plan():
    changes = [
        {"project": "other"}, {"purpose": "fraud"}, {"participants": ["north", "south", "east"]},
        {"participants": ["south", "north", "east", "west"]}, {"label__positive": 2}, {"label__positive": "1"},
        {"model__dropout": 0.2}, {"training__seed": 1}, {"strategy__max_weight": 0.5}, {"schedule__rounds": 21},
        {"privacy__min_cell": 6}, {"evaluation__holdout": 0.25}, {"retention__updates_days": 1},
    ]
    hashes = {a_plan(**change).hash for change in changes} | {a_plan().hash}
    assert len(hashes) == len(changes) + 1


BOUNDS = [
    # (field, inside, outside)
    ("model__hidden", [[1], [8192] * 8, []], [[0], [8193], [1] * 9]),
    ("model__dropout", [0, 0.9], [-0.1, 0.91]),
    ("model__base_score", [-10_000, 10_000], [-10_001, 10_001]),
    ("model__base_odds", [0.1, 1e6], [0, 1.1e6]),
    ("model__points_to_double", [0.1, 1000], [0, 1001]),
    ("model__family", ["logistic", "mlp", "scorecard", "ours@" + "0" * 64],
     ["", "forest", "ours@12", "a b@" + "0" * 64]),
    ("model__tensors",
     [[], [{"name": "a.weight", "shape": [3, "inputs"]}, {"name": "b", "shape": ["inputs"], "start": "ones"}]],
     [[{"name": "a", "shape": [3]}], [{"name": "a", "shape": []}], [{"name": "a", "shape": [0, 1]}], [{"name": "a", "shape": ["rows", 1]}],
      [{"name": "1a", "shape": [1, 1]}], [{"name": "a", "shape": [65_536, 65_536]}], [{"name": "a", "shape": [1, 1]}] * 2,
      [{"name": "a", "shape": [1, 1], "start": "normal"}]]),
    ("training__epochs", [0, 1000], [-1, 1001, 0.5]),
    ("training__batch_size", [1, 1_000_000], [0, 1_000_001]),
    ("training__optimiser", ["adam", "sgd"], ["lbfgs", None]),
    ("training__learning_rate", ["auto", 1e-9, 100], [0, -1, 100.1, "fast"]),
    ("training__decay", ["none", "cosine"], ["linear"]),
    ("training__weight_decay", [0, 10], [-1e-9, 10.1]),
    ("training__class_weight", ["none", "balanced", "focal"], ["auto"]),
    ("training__seed", [0, 2**31 - 1], [-1, 2**31]),
    ("strategy__name", ["fedavg", "newton", "krum"], ["mean", ""]),
    ("strategy__weighting", ["samples", "equal"], ["rows"]),
    ("strategy__max_weight", [0.01, 1], [0, 1.01]),
    ("strategy__mu", [None, 0, 1000], [-1, 1001]),
    ("strategy__server_learning_rate", [None, 1e-9, 100], [0, 101]),
    ("strategy__momentum", [None, 0, 0.99], [1, -0.1]),
    ("strategy__byzantine", [0, 1000], [-1, 1001]),
    ("strategy__trim", [None, 0, 0.49], [0.5, -0.1]),
    ("strategy__q", [None, 0, 100], [-1, 101]),
    ("strategy__ridge", [None, 0, 1e6], [-1, 1.1e6]),
    ("strategy__bound", [None, 1e-9, 1e6], [0, 1.1e6]),
    ("strategy__mixing", ["none", "nearest"], ["all"]),
    ("schedule__mode", ["sync", "async"], ["both"]),
    ("schedule__rounds", [1, 10_000], [0, 10_001]),
    ("schedule__quorum", ["auto", 1e-9, 1], [0, 1.01, "most"]),
    ("schedule__required", [[], ["north"]], [["zurich"], ["North"], [""]]),
    ("schedule__min_wait_s", [0, 86_400], [-1, 86_401]),
    ("schedule__deadline_s", [0.1, 30 * 86_400], [0, 30 * 86_400 + 1]),
    ("schedule__stage_timeout_s", [0.1, 86_400], [0, 86_401]),
    ("schedule__late", ["discard", "next_round"], ["keep"]),
    ("schedule__select", ["best", "last"], ["first"]),
    ("schedule__patience", [0, 10_000], [-1, 10_001]),
    ("schedule__buffer", [1, 10_000], [0, 10_001]),
    ("schedule__max_staleness", [0, 10_000], [-1, 10_001]),
    ("schedule__staleness_power", [0, 10], [-1, 10.1]),
    ("schedule__max_updates_per_bank", ["auto", 1, 100_000], [0, 100_001]),
    ("privacy__record_dp", [None, {}, {"epsilon": 100, "delta": "auto", "clip": 1000}],
     [{"epsilon": 0}, {"epsilon": 101}, {"delta": 0}, {"delta": 0.01}, {"clip": 0}, {"noise": 1}]),
    ("privacy__institution_dp", [None, {}, {"epsilon": 0.1, "delta": 1e-9, "clip": "adaptive"}],
     [{"epsilon": 0}, {"delta": 0.01}, {"clip": 0}, {"clip": 1.1e6}]),
    ("privacy__secure_aggregation", [None, {}, {"threshold": 1, "min_cohort": 3}],
     [{"threshold": 0.5}, {"threshold": 1.1}, {"min_cohort": 2}]),
    ("privacy__min_banks", [3, 4], [0, 5, 10_001]),
    ("privacy__min_banks_reason", ["", "x" * 500], ["x" * 501, None]),
    ("privacy__min_cell", [1, 10_000], [0, 10_001]),
    ("compression__codec", ["none", "bfloat16", "int8", "topk"], ["gzip"]),
    ("compression__share", [1e-9, 1], [0, 1.1]),
    ("evaluation__bins", [10, 100_000], [9, 100_001]),
    ("evaluation__validation", [0.01, 0.5], [-0.1, 0.51]),
    ("evaluation__holdout", [0.01, 0.5], [0, 0.51]),
    ("evaluation__every", [1, 10_000], [-1, 10_001]),
    ("evaluation__segment", [None, "sex"], ["", "x" * 129]),
    ("evaluation__alert_budget", [1e-9, 1], [0, 1.1]),
    ("evaluation__gains", [False, True], ["maybe", 2]),
    ("retention__updates_days", [0, 36_500], [-1, 36_501]),
]
TOP_BOUNDS = [
    ("project", ["a", "0", "a-b", "a" * 63], ["", "-a", "A", "a b", "a" * 64, "é", "../x", None]),
    ("purpose", ["credit", "fraud"], ["marketing"]),
    ("features", [[{"name": "x" * 128, "kind": "numeric"}], [{"name": "客户收入", "kind": "numeric"}]],
     [[], None, [{"name": "", "kind": "numeric"}], [{"name": "x" * 129, "kind": "numeric"}], [{"name": "x"}],
      [{"name": "x", "kind": "text"}], [{"name": "x", "kind": "numeric", "categories": ["a"]}],
      [{"name": "x", "kind": "categorical", "categories": []}],
      [{"name": "x", "kind": "categorical", "categories": [1, 1.0]}],
      [{"name": "x", "kind": "categorical", "categories": [1, "1"]}],
      [{"name": "x", "kind": "categorical", "categories": [2**53]}],
      [{"name": "x", "kind": "categorical", "categories": [float("nan")]}],
      [{"name": "x", "kind": "categorical", "categories": list(range(1001))}],
      [{"name": "x", "kind": "numeric"}, {"name": "x", "kind": "categorical"}],
      [{"name": f"c{i}", "kind": "numeric"} for i in range(2001)]]),
    ("label", [{"name": "y"}, {"name": "y", "positive": "CHGOFF"}, {"name": "y", "positive": 2.5}],
     [{}, {"name": ""}, {"name": "y", "positive": None}, {"name": "y", "positive": ""},
      {"name": "y", "positive": float("inf")}, {"name": "y", "positive": -(2**60)}]),
    ("participants", [["a", "b", "c"], [f"b{i}" for i in range(1000)]],
     [[], ["a", "a", "b", "c"], ["A", "b", "c"], [f"b{i}" for i in range(1001)]]),
    ("preprocessing", [{}, {"numeric": "woe", "categorical": "woe"}, {"bins": 2}, {"bins": 100}],
     [{"numeric": "rank"}, {"categorical": "hash"}, {"bins": 1}, {"bins": 101}]),
    ("code", [], ["import os", {}]),
]
CASES = BOUNDS + TOP_BOUNDS


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, inside, _ in CASES for value in inside])
def test_inside_its_bounds_a_field_is_accepted(field, value):
    assert a_plan(**{field: value}).hash


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, _, outside in CASES for value in outside])
def test_outside_its_bounds_the_problem_names_the_field(field, value):
    with pytest.raises(PlanInvalid) as refusal:
        a_plan(**{field: value})
    assert refusal.value.got.startswith(field.replace("__", "."))
    assert refusal.value.expected


def test_every_field_of_a_plan_has_its_bounds_tested_and_its_sentence():
    tested = {name for name, _, _ in CASES}
    for name, field in Plan.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if name in tested or inner is None:
            assert field.description or inner, name
            assert name in tested, name
            continue
        for inner_name, inner_field in inner.items():
            assert inner_field.description, f"{name}.{inner_name}"
            assert f"{name}__{inner_name}" in tested, f"{name}.{inner_name}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "NaN", [], {}])
@pytest.mark.parametrize("field", ["model__dropout", "training__learning_rate", "schedule__deadline_s"])
def test_no_field_takes_what_is_not_a_finite_number(field, value):
    with pytest.raises(PlanInvalid):
        a_plan(**{field: value})


def test_fewer_than_three_banks_behind_a_total_need_a_reason():
    reason = "Two subsidiaries of one group, agreed with its auditor."
    assert a_plan(privacy={"min_banks": 1, "min_banks_reason": reason}).hash
    for privacy in ({"min_banks": 1, "min_banks_reason": "  "}, {"min_banks": 2}):
        with pytest.raises(PlanInvalid) as refusal:
            a_plan(privacy=privacy)
        assert refusal.value.got == "privacy.min_banks_reason"


def test_validation_and_holdout_leave_rows_to_train_on():
    with pytest.raises(PlanInvalid, match="too few rows"):
        a_plan(evaluation={"validation": 0.4, "holdout": 0.5})


@pytest.mark.parametrize("evaluation", [{"every": 0}, {"validation": 0}])
def test_without_evaluation_only_the_last_version_can_be_selected(evaluation):
    assert a_plan(schedule__select="last", evaluation=evaluation).hash
    with pytest.raises(PlanInvalid) as refusal:
        a_plan(evaluation=evaluation)
    assert refusal.value.got == "schedule.select"


def test_the_label_is_no_feature():
    with pytest.raises(PlanInvalid, match="label cannot be a feature"):
        a_plan(features=[{"name": "default", "kind": "numeric"}])


def test_two_banks_cannot_stand_behind_a_total_of_three():
    with pytest.raises(PlanInvalid) as refusal:
        a_plan(participants=["north", "south"])
    assert refusal.value.got == "privacy.min_banks"


def test_a_form_gets_every_problem_once_under_the_name_of_its_field():
    with pytest.raises(ValidationError) as error:
        Plan.model_validate(
            {**SMALL, "training": {"learning_rate": -1, "epochs": -1}, "zzz": 1, "strategy": {"step": 2}}
        )
    problems = dict(plan_problems(error.value))
    assert set(problems) == {"training.learning_rate", "training.epochs", "zzz", "strategy.step"}
    assert "'auto'" in problems["training.learning_rate"]
    assert "greater than 0" in problems["training.learning_rate"]


def test_a_round_needs_the_share_of_the_banks_that_the_plan_says_rounded_up():
    assert [a_plan().needed(n) for n in (1, 4, 10)] == [1, 4, 10]
    assert [a_plan(schedule__quorum=0.67).needed(n) for n in (3, 4, 10, 100)] == [3, 3, 7, 67]
    assert a_plan(schedule__quorum=0.3).needed(10) == 3  # 0.3 * 10 is a little more than 3 in binary
    assert a_plan(schedule__quorum=1e-6).needed(4) == 1
    assert a_plan(privacy__secure_aggregation={}).needed(3) == 3


def test_the_step_size_of_a_cosine_falls_from_full_towards_zero():
    training = a_plan(training={"decay": "cosine", "learning_rate": 0.1}).training
    rates = [training.learning_rate_at("mlp", n, 10) for n in range(1, 11)]
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert rates[5] == pytest.approx(0.05)
    assert 0 < rates[-1] < 0.01


def test_the_step_size_falls_over_all_versions_of_an_async_run():
    plan = a_plan(training={"decay": "cosine"}, schedule={"mode": "async", "rounds": 5, "buffer": 1})
    versions = plan.versions(len(plan.participants))
    rates = [plan.learning_rate_in(n) for n in range(1, versions + 3)]
    assert versions > 5
    assert rates == sorted(rates, reverse=True)
    assert rates[5] > 0 == rates[-1]


def test_auto_is_three_thousandths_for_an_mlp_and_a_hundredth_for_logistic():
    training = a_plan().training
    assert training.resolved_learning_rate("mlp") == 0.003
    assert training.resolved_learning_rate("logistic") == 0.01


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), (" 1.00 ", "1"), (True, "1"), (False, "0"), (0.0, "0"),
        (-0.0, "0"), ("-0.0", "0"), (-3.0, "-3"), ("-30.0", "-30"), (2.5, "2.5"), ("2.50", "2.50"),
        ("True", "1"), ("false", "0"), ("CHGOFF", "CHGOFF"),
        ("1.0.0", "1.0.0"), (1e300, "1e+300"), ("", ""), ("  Zürich ", "Zürich"), ("是", "是"), ("v1.0", "v1.0"),
    ],
)
def test_values_compare_as_text(value, expected):
    assert as_text(value) == expected


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_is_the_same_as_integer_as_float_and_as_either_text(number):
    assert as_text(number) == as_text(float(number)) == as_text(str(number)) == as_text(str(number) + ".0")


@given(st.text(max_size=30) | st.floats())
def test_a_text_form_is_its_own_text_form(value):
    assert as_text(as_text(value)) == as_text(value)


def test_a_plan_without_tensors_has_the_hash_that_it_had_before_there_were_plugins():
    assert "tensors" not in a_plan().canonical_text
    named = a_plan(model={"family": "ours@" + "0" * 64, "tensors": [{"name": "a", "shape": [1, "inputs"]}]})
    assert parse_plan(named.model_dump(mode="json")) == named


def test_what_this_version_cannot_run_is_refused_by_name():
    preprocessing = a_plan().preprocessing.model_copy(update={"numeric": "of-tomorrow"})
    with pytest.raises(PlanUnsupported) as refusal:
        require_supported(a_plan().model_copy(update={"preprocessing": preprocessing}))
    assert "preprocessing.numeric" in refusal.value.got


def test_the_default_plan_can_be_run():
    require_supported(a_plan())
    require_supported(a_plan(model__family="logistic"))


def test_a_misspelt_field_is_told_with_the_nearest_one():
    with pytest.raises(PlanInvalid) as refusal:
        a_plan(strategy={"nam": "fedavg"})
    assert (refusal.value.got, refusal.value.expected) == ("strategy.nam", "a field that a plan has; perhaps name")
