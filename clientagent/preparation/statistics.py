"""What a bank says about its columns: counts and moments over training rows, with small numbers hidden (invariant 13).

Hidden consistently: in every column the reported cells still add up to the reported rows, so nothing can be had by subtraction.
"""

from __future__ import annotations

import numpy as np

from clientagent.data.splits import Split
from clientagent.data.table import Categories, Labels, Numbers, Table
from clientagent.preparation.cells import count_cells, resolution_of
from clientagent.wire.messages import CategoricalStatistics, NumericStatistics, StatisticsReport
from clientagent.wire.plan import Feature, Plan, as_text

MOST_CATEGORIES = 1000
LONGEST_CATEGORY = 128


def statistics_report(
    plan: Plan, table: Table, split: Split, *, run: str, institution: str, salt: str
) -> StatisticsReport:
    """The report of one bank; hold-out and validation rows are not looked at. ``salt`` is the agent's id (``Split.digest``)."""
    training = table.take(split.training)  # of a table on disk, column by column
    return StatisticsReport(
        run=run,
        plan_hash=plan.hash,
        institution=institution,
        rows=training.rows,
        validation_rows=len(split.validation),
        holdout_rows=len(split.holdout),
        numeric=[_numeric(plan, name, column, training.labels) for name, column in training.numeric.items()],
        categorical=[_categorical(plan, feature, training) for feature in plan.features if feature.kind == "categorical"],
        data_digest=split.digest(salt),
    )


def rounded(value: float) -> float:
    """Nine significant digits: enough to train with, too few to tell one customer's value."""
    return float(f"{value:.9g}")


def _numeric(plan: Plan, name: str, column: Numbers, labels: Labels) -> NumericStatistics:
    counted = labels if plan.numeric_method == "woe" else None
    return numeric_statistics(name, column, plan.privacy.min_cell, labels=counted, resolution=resolution_of(plan))


def numeric_statistics(
    name: str, numbers: Numbers, min_cell: int, *, labels: Labels | None = None, resolution: int = 0
) -> NumericStatistics:
    """Moments and cells of a column (rows,) with NaN for missing; positives among ``labels`` (rows,) where they are given.

    Fewer than ``min_cell`` present values are not reported at all. Fewer than ``min_cell`` missing ones are reported as if
    they had the mean: mean and m2 stay, and the model treats them so anyway.
    """
    absent = np.isnan(numbers)
    present = numbers[~absent]
    rows, count = len(numbers), len(present)
    if count < min_cell:
        missing = rows if rows >= min_cell else 0
        bad = int(labels.sum()) if labels is not None and missing else 0
        return NumericStatistics(name=name, count=0, mean=0.0, m2=0.0, missing=missing, missing_bad=bad)
    mean = float(np.mean(present))
    m2 = float(np.sum((present - mean) ** 2))
    if rows - count < min_cell:
        numbers, absent = np.where(absent, mean, numbers), np.zeros(rows, bool)
    cells = None
    if resolution:
        known = None if labels is None else labels[~absent]
        cells = count_cells(numbers[~absent], known, min_cell=min_cell, resolution=resolution)
    missing = int(np.count_nonzero(absent))
    return NumericStatistics(
        name=name, count=rows - missing, mean=rounded(mean), m2=rounded(m2), missing=missing,
        missing_bad=0 if labels is None else int(labels[absent].sum()), cells=cells,
    )  # fmt: skip


def _categorical(plan: Plan, feature: Feature, training: Table) -> CategoricalStatistics:
    column = training.categorical[feature.name]
    listed = None if feature.categories is None else {as_text(value) for value in feature.categories}
    labels = training.labels if plan.categorical_method == "woe" else None
    return categorical_statistics(feature.name, column, plan.privacy.min_cell, listed, labels=labels)


def categorical_statistics(
    name: str, column: Categories, min_cell: int, listed: set[str] | None = None, *, labels: Labels | None = None
) -> CategoricalStatistics:
    """Counts of a column's categories, each at least ``min_cell``; positives among ``labels`` (rows,) where they are given.

    Smaller ones, those beyond the thousand most frequent and too few missing ones go to ``other``; an ``other`` that is
    itself too small goes to the smallest category.
    """
    values, sizes = column.values, column.counts()
    fit = [i for i, value in enumerate(values) if sizes[i] >= min_cell and len(value) <= LONGEST_CATEGORY]
    fit = [i for i in fit if listed is None or values[i] in listed]
    kept = sorted(fit, key=lambda i: (-sizes[i], values[i]))[:MOST_CATEGORIES]
    other, missing = len(kept), len(kept) + 1
    place = np.full(len(values) + 1, other)
    place[kept] = range(len(kept))
    absent = int(np.count_nonzero(column.codes < 0))
    place[-1] = missing if absent >= min_cell else other
    if np.append(sizes, absent)[place == other].sum() < min_cell:
        place[place == other] = other - 1 if kept else missing
    told = place[column.codes]
    counts = np.bincount(told, minlength=missing + 1)
    bad = np.bincount(told, labels, minlength=missing + 1) if labels is not None else np.zeros(missing + 1)
    counts, bad = np.where(counts < min_cell, 0, counts), np.where(counts < min_cell, 0, bad)
    names = [values[i] for i in kept]
    return CategoricalStatistics(
        name=name, counts=dict(zip(names, counts.tolist(), strict=False)), other=int(counts[other]), missing=int(counts[missing]),
        bad={} if labels is None else {value: int(n) for value, n in zip(names, bad, strict=False)},
        other_bad=int(bad[other]), missing_bad=int(bad[missing]),
    )  # fmt: skip
