"""The frozen specification turns a table into exactly the inputs it names, in its order."""

from __future__ import annotations

import numpy as np
import pytest

from clientagent.data import Categories, Table, split_rows
from clientagent.preparation.preprocess import check_spec, prepare, preprocess
from clientagent.wire.errors import ManifestMismatch
from clientagent.wire.messages import CategoricalInput, NumericInput, PreprocessingSpec
from clientagent.wire.plan import Plan
from tests.agent.tables import plan_of, random_table


def spec_of(plan: Plan, **region: bool) -> PreprocessingSpec:
    return PreprocessingSpec(
        plan_hash=plan.hash,
        numeric=[NumericInput(name="income", mean=50, scale=10, indicator=True), NumericInput(name="age", mean=40, scale=4)],
        categorical=[CategoricalInput(name="region", categories=["b", "a"], **region)],
    )


def table() -> Table:
    return Table(
        4, {"income": np.array([60.0, np.nan, 1e9, -1e9]), "age": np.array([40.0, 44.0, 42.0, np.nan])},
        {"region": Categories(np.array([0, 1, 2, -1], np.int32), ["a", "b", "z"])}, np.array([0, 1, 0, 1], np.int8),
    )  # fmt: skip


def test_numbers_are_scaled_and_clipped_and_missing_ones_zero() -> None:
    matrix = preprocess(spec_of(plan_of()), table())
    assert matrix.dtype == np.float32
    assert matrix[:, :3].tolist() == [[1, 0, 0], [0, 1, 1], [8, 0, 0.5], [-8, 0, 0]]


@pytest.mark.parametrize(
    ("other", "missing", "expected"),
    [
        (True, True, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        (True, False, [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]),
        (False, True, [[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]),
        (False, False, [[0, 1], [1, 0], [0, 0], [0, 0]]),
    ],
)
def test_a_value_lights_its_own_input(other: bool, missing: bool, expected: list[list[int]]) -> None:
    spec = spec_of(plan_of(), other=other, missing=missing)
    matrix = preprocess(spec, table())
    assert matrix.shape == (4, len(spec.input_names))
    assert matrix[:, 3:].tolist() == expected


def test_a_feature_that_the_specification_leaves_out_is_no_input() -> None:
    spec = spec_of(plan_of()).model_copy(update={"numeric": []})
    assert preprocess(spec, table()).shape == (4, 3)


def test_each_part_has_its_rows_and_labels() -> None:
    plan, whole = plan_of(), random_table(200)
    split = split_rows(plan, whole)
    prepared = prepare(spec_of(plan), whole, split)
    assert np.array_equal(prepared.validation.labels, whole.labels[split.validation])
    assert np.array_equal(prepared.holdout.matrix, preprocess(spec_of(plan), whole.take(split.holdout)))


def test_a_specification_of_another_plan_is_refused() -> None:
    check_spec(plan_of(), spec_of(plan_of()))
    with pytest.raises(ManifestMismatch, match="the preprocessing of plan"):
        check_spec(plan_of(project="other"), spec_of(plan_of()))


@pytest.mark.parametrize("names", [["age", "income"], ["income", "income"], ["income", "age", "shoe_size"]])
def test_a_specification_with_other_features_is_refused(names: list[str]) -> None:
    numbers = [NumericInput(name=name, mean=0, scale=1) for name in names]
    with pytest.raises(ManifestMismatch, match="numeric features of the plan, in its order"):
        check_spec(plan_of(), spec_of(plan_of()).model_copy(update={"numeric": numbers}))
