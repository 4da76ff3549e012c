"""Turns a table into the model's inputs, exactly as the run's frozen specification says and in its order of inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clientagent.data.splits import Split
from clientagent.data.store import Store
from clientagent.data.table import Categories, Labels, Numbers, Table
from clientagent.wire.errors import ManifestMismatch
from clientagent.wire.messages import (
    BinsInput,
    CategoricalInput,
    CategoricalWoe,
    NumericInput,
    PiecewiseInput,
    PreprocessingSpec,
    QuantileInput,
    WoeInput,
)
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array


@dataclass(frozen=True)
class Inputs:
    """``matrix`` (rows, inputs) float32 and ``labels`` (rows,) of one part of a bank's rows.

    ``at_a_time``: rows of a matrix on disk that may be copied into memory at once; 0: it is in memory.
    """

    matrix: Array
    labels: Labels
    at_a_time: int = 0


@dataclass(frozen=True)
class Prepared:
    """A bank's rows, ready to train on and to score."""

    training: Inputs
    validation: Inputs
    holdout: Inputs
    segment: Categories | None = None
    """Of the hold-out rows, where the plan names one."""


def prepare(spec: PreprocessingSpec, table: Table, split: Split) -> Prepared:
    """The rows of each part, in the order of the split. Raises ``DataUnfit`` where a large table finds no room on disk."""
    if table.store is not None:
        return _prepared_on_disk(spec, table, split, table.store)

    def inputs(rows: NDArray[np.int64]) -> Inputs:
        part = table.take(rows)
        return Inputs(preprocess(spec, part), part.labels)

    segment = table.segment.take(split.holdout) if table.segment else None
    return Prepared(inputs(split.training), inputs(split.validation), inputs(split.holdout), segment)


def _prepared_on_disk(spec: PreprocessingSpec, table: Table, split: Split, store: Store) -> Prepared:
    """The same, in one pass over the table: each block of rows goes to its places in three files."""
    width = len(spec.input_names)
    parts = (split.training, split.validation, split.holdout)
    matrices = [store.matrix(len(rows), width) for rows in parts]
    part, place = np.empty(table.rows, np.int8), np.empty(table.rows, np.int64)
    for which, rows in enumerate(parts):
        part[rows], place[rows] = which, np.arange(len(rows))
    for start, block in table.in_blocks():
        at = slice(start, start + block.rows)
        filled = preprocess(spec, block)
        for which, matrix in enumerate(matrices):
            mine = part[at] == which
            matrix[place[at][mine]] = filled[mine]
    most = store.rows_at_a_time(4 * width)
    segment = table.segment.take(split.holdout) if table.segment else None
    training, validation, holdout = (
        Inputs(matrix, table.labels[rows], most) for matrix, rows in zip(matrices, parts, strict=True)
    )
    return Prepared(training, validation, holdout, segment)


def check_spec(plan: Plan, spec: PreprocessingSpec) -> None:
    """Raises ``ManifestMismatch`` for a specification that is not of this plan.

    It may leave out a feature that too few banks hold, but not add, repeat or reorder one, nor prepare it otherwise.
    """
    if spec.plan_hash != plan.hash:
        raise ManifestMismatch(expected=f"the preprocessing of plan {plan.hash[:16]}", got=spec.plan_hash[:16])
    lists = (("numeric", spec.numeric, plan.numeric_method), ("categorical", spec.categorical, plan.categorical_method))
    for kind, inputs, method in lists:
        allowed = [feature.name for feature in plan.features if feature.kind == kind]
        names = [entry.name for entry in inputs]
        if names != [name for name in allowed if name in set(names)]:
            raise ManifestMismatch(expected=f"{kind} features of the plan, in its order", got=", ".join(names)[:500])
        if strange := [entry.name for entry in inputs if entry.method != method]:
            raise ManifestMismatch(expected=f"{kind} features prepared by {method}", got=", ".join(strange)[:500])


def preprocess(spec: PreprocessingSpec, table: Table) -> Array:
    """The matrix (rows, inputs), float32, in the order of ``spec.input_names``."""
    matrix = np.zeros((table.rows, len(spec.input_names)), np.float32)
    at = 0
    for number in spec.numeric:
        width = len(number.input_names)
        _FILL[type(number)](matrix[:, at : at + width], number, table.numeric[number.name])
        at += width
    for category in spec.categorical:
        width = len(category.input_names)
        _FILL[type(category)](matrix[:, at : at + width], category, table.categorical[category.name])
        at += width
    return matrix


def bin_numbers(edges: list[float], column: Numbers) -> NDArray[np.int64]:
    """The bin (rows,) of each value: 0 up to ``edges[0]``, and so on; -1 where it is missing."""
    return np.where(np.isnan(column), -1, np.searchsorted(edges, column, side="left"))


def category_places(categories: list[str], column: Categories) -> NDArray[np.int64]:
    """The place (rows,) of each value among ``categories``; behind them others, and then missing."""
    places = {value: i for i, value in enumerate(categories)}
    width = len(categories)
    return np.array([places.get(value, width) for value in column.values] + [width + 1])[column.codes]


def _fill_zscore(into: Array, spec: NumericInput, column: Numbers) -> None:
    with np.errstate(over="ignore"):
        z = np.clip((column - spec.mean) / spec.scale, -spec.clip, spec.clip)
    missing = np.isnan(z)
    into[:, 0] = np.where(missing, 0.0, z)
    if spec.indicator:
        into[:, 1] = missing


def _fill_quantile(into: Array, spec: QuantileInput, column: Numbers) -> None:
    missing = np.isnan(column)
    if spec.knots:
        scores = np.where(column > spec.knots[-1], spec.beyond, np.interp(column, spec.knots, spec.scores))
        into[:, 0] = np.where(missing, 0.0, scores)
    if spec.indicator:
        into[:, -1] = missing


def _fill_bins(into: Array, spec: BinsInput, column: Numbers) -> None:
    place = bin_numbers(spec.edges, column)
    rows = np.flatnonzero(place >= 0)
    if spec.edges:
        into[rows, place[rows]] = 1.0
    if spec.indicator:
        into[:, -1] = place < 0


def _fill_piecewise(into: Array, spec: PiecewiseInput, column: Numbers) -> None:
    missing = np.isnan(column)
    known = np.where(missing, -np.inf, column)
    for i, (low, high) in enumerate(pairwise(spec.knots)):
        into[:, i] = np.clip((known - low) / (high - low), 0.0, 1.0)
    if spec.indicator:
        into[:, -1] = missing


def _fill_woe(into: Array, spec: WoeInput, column: Numbers) -> None:
    weights = np.array([evidence.woe for evidence in (*spec.bins, spec.missing)])
    into[:, 0] = weights[bin_numbers(spec.edges, column)]


def _fill_onehot(into: Array, spec: CategoricalInput, column: Categories) -> None:
    """An unlisted value goes to ``other``, a missing one to ``missing``, else to ``other``; without such an input to none."""
    width = len(spec.categories)
    other = width if spec.other else -1
    missing = width + spec.other if spec.missing else other
    place = np.array([*range(width), other, missing])[category_places(spec.categories, column)]
    rows = np.flatnonzero(place >= 0)
    into[rows, place[rows]] = 1.0


def _fill_category_woe(into: Array, spec: CategoricalWoe, column: Categories) -> None:
    weights = np.array([evidence.woe for evidence in (*spec.bins, spec.other, spec.missing)])
    into[:, 0] = weights[category_places(spec.categories, column)]


_FILL: dict[type, Callable[[Array, Any, Any], None]] = {
    NumericInput: _fill_zscore, QuantileInput: _fill_quantile, BinsInput: _fill_bins, PiecewiseInput: _fill_piecewise,
    WoeInput: _fill_woe, CategoricalInput: _fill_onehot, CategoricalWoe: _fill_category_woe,
}  # fmt: skip
