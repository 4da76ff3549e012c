"""What a bank says about its columns: counts and moments over training rows, with small numbers hidden (invariant 13).

Hidden consistently: in every column the reported cells still add up to the reported rows, so nothing can be had by subtraction.
"""

from __future__ import annotations

import numpy as np

from clientagent.data.splits import Split
from clientagent.data.table import Categories, Numbers, Table
from clientagent.wire.messages import CategoricalStatistics, NumericStatistics, StatisticsReport
from clientagent.wire.plan import Feature, Plan, as_text

MOST_CATEGORIES = 1000
LONGEST_CATEGORY = 128


def statistics_report(
    plan: Plan, table: Table, split: Split, *, run: str, institution: str, salt: str
) -> StatisticsReport:
    """The report of one bank; hold-out and validation rows are not looked at. ``salt`` is the agent's id (``Split.digest``)."""
    training, min_cell = table.take(split.training), plan.privacy.min_cell
    return StatisticsReport(
        run=run,
        plan_hash=plan.hash,
        institution=institution,
        rows=training.rows,
        validation_rows=len(split.validation),
        holdout_rows=len(split.holdout),
        numeric=[numeric_statistics(name, column, min_cell) for name, column in training.numeric.items()],
        categorical=[_categorical(feature, training, min_cell) for feature in plan.features if feature.kind == "categorical"],
        data_digest=split.digest(salt),
    )


def rounded(value: float) -> float:
    """Nine significant digits: enough to train with, too few to tell one customer's value."""
    return float(f"{value:.9g}")


def numeric_statistics(name: str, numbers: Numbers, min_cell: int) -> NumericStatistics:
    """Moments of a column (rows,) with NaN for missing.

    Fewer than ``min_cell`` present values are not reported at all. Fewer than ``min_cell`` missing ones are reported as if
    they had the mean: mean and m2 stay, and the model treats them so anyway.
    """
    present = numbers[~np.isnan(numbers)]
    rows, count = len(numbers), len(present)
    if count < min_cell:
        return NumericStatistics(name=name, count=0, mean=0.0, m2=0.0, missing=rows if rows >= min_cell else 0)
    mean = float(np.mean(present))
    m2 = float(np.sum((present - mean) ** 2))
    if rows - count < min_cell:
        count = rows
    return NumericStatistics(name=name, count=count, mean=rounded(mean), m2=rounded(m2), missing=rows - count)


def _categorical(feature: Feature, training: Table, min_cell: int) -> CategoricalStatistics:
    column = training.categorical[feature.name]
    listed = None if feature.categories is None else {as_text(value) for value in feature.categories}
    return categorical_statistics(feature.name, column, min_cell, listed)


def categorical_statistics(
    name: str, column: Categories, min_cell: int, listed: set[str] | None = None
) -> CategoricalStatistics:
    """Counts of a column's categories, each at least ``min_cell``.

    Smaller ones, those beyond the thousand most frequent and too few missing ones go to ``other``; an ``other`` that is
    itself too small goes to the smallest category.
    """
    present = {value: int(count) for value, count in zip(column.values, column.counts(), strict=True) if count}
    fit = [v for v, n in present.items() if n >= min_cell and len(v) <= LONGEST_CATEGORY and (listed is None or v in listed)]
    kept = sorted(fit, key=lambda value: (-present[value], value))[:MOST_CATEGORIES]
    counts = {value: present[value] for value in kept}
    missing = int(np.count_nonzero(column.codes < 0))
    other = sum(present.values()) - sum(counts.values())
    if missing < min_cell:
        other, missing = other + missing, 0
    if other < min_cell:
        if kept:
            counts[kept[-1]] += other
        elif missing:
            missing += other
        other = 0
    return CategoricalStatistics(name=name, counts=counts, other=other, missing=missing)
