"""Turns a table into the model's inputs, exactly as the run's frozen specification says and in its order of inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.data.splits import Split
from clientagent.data.table import Categories, Labels, Numbers, Table
from clientagent.wire.errors import ManifestMismatch
from clientagent.wire.messages import CategoricalInput, NumericInput, PreprocessingSpec
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array


@dataclass(frozen=True)
class Inputs:
    """``matrix`` (rows, inputs) float32 and ``labels`` (rows,) of one part of a bank's rows."""

    matrix: Array
    labels: Labels


@dataclass(frozen=True)
class Prepared:
    """A bank's rows, ready to train on and to score."""

    training: Inputs
    validation: Inputs
    holdout: Inputs


def prepare(spec: PreprocessingSpec, table: Table, split: Split) -> Prepared:
    def inputs(rows: NDArray[np.int64]) -> Inputs:
        part = table.take(rows)
        return Inputs(preprocess(spec, part), part.labels)

    return Prepared(inputs(split.training), inputs(split.validation), inputs(split.holdout))


def check_spec(plan: Plan, spec: PreprocessingSpec) -> None:
    """Raises ``ManifestMismatch`` for a specification that is not of this plan.

    It may leave out a feature that too few banks hold, but not add, repeat or reorder one.
    """
    if spec.plan_hash != plan.hash:
        raise ManifestMismatch(expected=f"the preprocessing of plan {plan.hash[:16]}", got=spec.plan_hash[:16])
    for kind, inputs in (("numeric", spec.numeric), ("categorical", spec.categorical)):
        allowed = [feature.name for feature in plan.features if feature.kind == kind]
        names = [entry.name for entry in inputs]
        if names != [name for name in allowed if name in set(names)]:
            raise ManifestMismatch(expected=f"{kind} features of the plan, in its order", got=", ".join(names)[:500])


def preprocess(spec: PreprocessingSpec, table: Table) -> Array:
    """The matrix (rows, inputs), float32, in the order of ``spec.input_names``."""
    matrix = np.zeros((table.rows, len(spec.input_names)), np.float32)
    at = 0
    for number in spec.numeric:
        at += _fill_number(matrix[:, at:], number, table.numeric[number.name])
    for category in spec.categorical:
        at += _fill_category(matrix[:, at:], category, table.categorical[category.name])
    return matrix


def _fill_number(into: Array, spec: NumericInput, column: Numbers) -> int:
    with np.errstate(over="ignore"):
        z = np.clip((column - spec.mean) / spec.scale, -spec.clip, spec.clip)
    missing = np.isnan(z)
    into[:, 0] = np.where(missing, 0.0, z)
    if spec.indicator:
        into[:, 1] = missing
    return 1 + spec.indicator


def _fill_category(into: Array, spec: CategoricalInput, column: Categories) -> int:
    """An unlisted value goes to ``other``, a missing one to ``missing``, else to ``other``; without such an input to none."""
    places = {value: i for i, value in enumerate(spec.categories)}
    width = len(spec.categories)
    other = missing = -1
    if spec.other:
        other = missing = width
        width += 1
    if spec.missing:
        missing = width
        width += 1
    place = np.array([places.get(value, other) for value in column.values] + [missing])[column.codes]
    rows = np.flatnonzero(place >= 0)
    into[rows, place[rows]] = 1.0
    return width
