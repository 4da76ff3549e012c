"""The statistics stage under record_dp: the same report, out of one Gaussian release over all columns.

What noise needs is a bound on what one customer can change. A number with bounds in the plan is cut to them and scaled to +-1;
its sum, its sum of squares and its missing values then move by at most sqrt(2). A category moves one count by one. Categories
that the plan lists need no counts at all. The rest of the report is arithmetic on noised sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from clientagent.data.table import Categories, Numbers, Table
from clientagent.preparation.statistics import LONGEST_CATEGORY, numeric_statistics, rounded
from clientagent.wire.errors import PrivacyUnsound
from clientagent.wire.messages import CategoricalStatistics, NumericStatistics
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.stream import Floats, Stream
from clientagent.wire.privacy.terms import RecordTerms, bounded

OF_A_NUMBER, OF_A_CATEGORY, OF_THE_LABEL = 2.0, 1.0, 1.0
"""Squared sensitivities: (u, u^2) with u in +-1, or one missing value; one count; the number of positives."""
SURE = 4.0
"""Standard deviations of noise above which a number of missing values is believed."""
LEAST_VARIANCE = 1e-4
"""Of values in +-1: below that, noise would decide how far a column is stretched."""


@dataclass(frozen=True)
class ProtectedStatistics:
    """``positives`` is for balanced class weights at this bank; it may be of any size, and None where the plan needs none."""

    numeric: list[NumericStatistics]
    categorical: list[CategoricalStatistics]
    positives: float | None


def sensitivity(plan: Plan) -> float:
    """By how much one customer can move the vector of all released sums (L2)."""
    unlisted = sum(feature.kind == "categorical" and feature.categories is None for feature in plan.features)
    balanced = plan.training.class_weight == "balanced"
    return math.sqrt(len(bounded(plan)) * OF_A_NUMBER + unlisted * OF_A_CATEGORY + balanced * OF_THE_LABEL)


def protected_statistics(plan: Plan, table: Table, terms: RecordTerms, stream: Stream) -> ProtectedStatistics:
    """Of the training rows in ``table``. Numbers without bounds are reported as they are: ``not_covered`` names them."""
    record = plan.privacy.record_dp
    if record is None or terms.statistics_noise is None:
        raise PrivacyUnsound(expected="a plan whose statistics carry noise", got="none")
    sigma = terms.statistics_noise * sensitivity(plan)
    unlisted = sum(feature.kind == "categorical" and feature.categories is None for feature in plan.features)
    threshold = sigma * NormalDist().inv_cdf(1 - terms.failure / unlisted) + 1 if unlisted else 0.0
    numeric = [
        protected_number(name, column, record.bounds[name], plan.privacy.min_cell, sigma, stream.child(f"number {name}"))
        if name in record.bounds
        else numeric_statistics(name, column, plan.privacy.min_cell)
        for name, column in table.numeric.items()
    ]
    categorical = [
        CategoricalStatistics(name=feature.name, counts={}, other=0, missing=0)
        if feature.categories is not None
        else protected_category(
            feature.name, table.categorical[feature.name], max(threshold, plan.privacy.min_cell), sigma,
            stream.child(f"category {feature.name}"),
        )
        for feature in plan.features
        if feature.kind == "categorical"
    ]  # fmt: skip
    positives = None
    if plan.training.class_weight == "balanced":
        positives = float(table.labels.sum()) + sigma * float(stream.child("positives").gaussian(1)[0])
    return ProtectedStatistics(numeric, categorical, positives)


def protected_number(
    name: str, column: Numbers, bounds: tuple[float, float], min_cell: int, sigma: float, stream: Stream
) -> NumericStatistics:
    """Moments out of noised sums of values scaled to +-1, brought back into the range that sums without noise have."""
    middle, half = (bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 2
    sums = sums_of(column, bounds) + sigma * stream.gaussian(3)
    absent = _believed(float(sums[2]), len(column), min_cell, sigma)
    count = len(column) - absent
    if count == 0:
        return NumericStatistics(name=name, count=0, mean=0.0, m2=0.0, missing=absent)
    mean = min(max(float(sums[0]) / count, -1.0), 1.0)
    square = min(max(float(sums[1]) / count, 0.0), 1.0)
    variance = max(square - mean * mean, LEAST_VARIANCE)
    return NumericStatistics(
        name=name, count=count, mean=rounded(middle + half * mean), m2=rounded(variance * half * half * count), missing=absent
    )


def sums_of(column: Numbers, bounds: tuple[float, float]) -> Floats:
    """(3,): of values scaled to +-1 the sum and the sum of squares, and the number of missing ones."""
    middle, half = (bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 2
    missing = np.isnan(column)
    scaled = np.clip((column[~missing] - middle) / half, -1, 1)
    return np.array([np.sum(scaled), np.sum(scaled**2), float(np.count_nonzero(missing))])


def _believed(missing: float, rows: int, min_cell: int, sigma: float) -> int:
    """A noised number of missing values, as a number that the report may hold: none, or enough on both sides."""
    if missing < max(SURE * sigma, min_cell):
        return 0
    return min(round(missing), rows - min_cell) if rows > 2 * min_cell else 0


def protected_category(
    name: str, column: Categories, threshold: float, sigma: float, stream: Stream
) -> CategoricalStatistics:
    """Noised counts of the categories that so many customers have that their very name tells of none of them.

    A name that one customer alone brings passes ``threshold`` with a chance below the terms' ``failure`` (Korolova et al. 2009,
    for Gaussian noise). All others are in ``other``, up to the rows, whose number is public.
    """
    rows = len(column.codes)
    present = {value: int(n) for value, n in zip(column.values, column.counts(), strict=True) if n}
    noised = dict(zip(present, np.array(list(present.values())) + sigma * stream.gaussian(len(present)), strict=True))
    named = {value: round(n) for value, n in noised.items() if n > threshold and len(value) <= LONGEST_CATEGORY}
    counts: dict[str, int] = {}
    for value in sorted(named, key=lambda value: (-named[value], value))[:1000]:
        left = rows - sum(counts.values())
        if left < threshold:
            break
        counts[value] = min(named[value], left)
    return CategoricalStatistics(name=name, counts=counts, other=0, missing=0)

