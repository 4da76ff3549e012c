"""One preprocessing for all banks out of their counts and moments, and which reports are refused.

What becomes public here is only what ``privacy.min_banks`` banks stand behind (invariant 13). A category that fewer banks report
would tell everybody about those banks' customers, so it is counted as ``other``: measured on SBA loans of eight lenders this
costs less than the noise between two seeds. A plan that needs such a category lists it; listed categories are public by consent.
A feature that fewer banks hold is left out, because its pooled mean would be theirs alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clientagent.wire.errors import StatisticsInvalid
from clientagent.wire.messages import (
    CategoricalInput,
    CategoricalStatistics,
    NumericInput,
    NumericStatistics,
    PreprocessingSpec,
    StatisticsReport,
)
from clientagent.wire.plan import Feature, Plan, as_text

LARGEST = 1e100
"""Larger means are refused: their squares would overflow."""
MOST_REPORTED = 1000
MOST_CATEGORIES = 100
LONGEST_CATEGORY = 128
SMALLEST_SPREAD = 1e-8
"""A deviation below this share of the mean is the rounding of a constant."""


@dataclass(frozen=True)
class Moments:
    """Of values: how many, their mean, and the sum of squared deviations from it."""

    count: int
    mean: float
    m2: float

    def plus(self, other: Moments) -> Moments:
        """Moments of both sets together (Chan, Golub & LeVeque 1979, equation 2.1)."""
        if self.count == 0 or other.count == 0:
            return self if other.count == 0 else other
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        return Moments(count, mean, self.m2 + other.m2 + delta * delta * (self.count * other.count / count))


def check_report(plan: Plan, report: StatisticsReport) -> None:
    """Raises ``StatisticsInvalid`` for a report that is not of this plan, cannot be true, or shows too small a number."""
    numeric = [feature.name for feature in plan.features if feature.kind == "numeric"]
    features = [feature for feature in plan.features if feature.kind == "categorical"]
    _require_names(numeric, [number.name for number in report.numeric])
    _require_names([feature.name for feature in features], [category.name for category in report.categorical])
    for number in report.numeric:
        _check_numeric(number, report.rows, plan.privacy.min_cell)
    for feature, category in zip(features, report.categorical, strict=True):
        _check_categorical(feature, category, report.rows, plan.privacy.min_cell)


def pool_statistics(plan: Plan, reports: Sequence[StatisticsReport]) -> PreprocessingSpec:
    """The specification that follows from the reports, whatever order they came in. Raises ``StatisticsInvalid``."""
    ordered = sorted(reports, key=lambda report: report.institution)
    banks = {report.institution for report in ordered}
    if len(banks) != len(ordered) or not banks <= set(plan.participants):
        raise StatisticsInvalid(expected="one report of each participant", got=", ".join(r.institution for r in ordered)[:500])
    if len(banks) < plan.privacy.min_banks:
        raise StatisticsInvalid(expected=f"reports of at least {plan.privacy.min_banks} banks", got=f"{len(banks)}")
    for report in ordered:
        check_report(plan, report)
    features = [feature for feature in plan.features if feature.kind == "categorical"]
    numbers = [_pool_numeric(plan, parts) for parts in zip(*(report.numeric for report in ordered), strict=True)]
    categories = [
        _pool_categorical(plan, feature, parts)
        for feature, *parts in zip(features, *(report.categorical for report in ordered), strict=True)
    ]
    spec = PreprocessingSpec(
        plan_hash=plan.hash,
        numeric=[number for number in numbers if number],
        categorical=[category for category in categories if category],
    )
    if not spec.input_names:
        raise StatisticsInvalid(expected=f"a feature that at least {plan.privacy.min_banks} banks hold", got="none")
    return spec


def _pool_numeric(plan: Plan, parts: Sequence[NumericStatistics]) -> NumericInput | None:
    if sum(part.count > 0 for part in parts) < plan.privacy.min_banks:
        return None
    total = Moments(0, 0.0, 0.0)
    for part in parts:
        total = total.plus(Moments(part.count, part.mean, part.m2))
    scale = math.sqrt(total.m2 / total.count)
    missing = sum(part.missing for part in parts)
    return NumericInput(
        name=parts[0].name,
        mean=total.mean,
        scale=scale if scale > SMALLEST_SPREAD * abs(total.mean) else 1.0,
        indicator=missing >= plan.privacy.min_cell,
    )


def _pool_categorical(plan: Plan, feature: Feature, parts: Sequence[CategoricalStatistics]) -> CategoricalInput | None:
    missing = sum(part.missing for part in parts) >= plan.privacy.min_cell
    if feature.categories is not None:
        listed = [as_text(value) for value in feature.categories]
        return CategoricalInput(name=feature.name, categories=listed, other=False, missing=missing)
    counts: dict[str, int] = {}
    banks: dict[str, int] = {}
    for part in parts:
        for value, count in part.counts.items():
            counts[value] = counts.get(value, 0) + count
            banks[value] = banks.get(value, 0) + 1
    agreed = [value for value in counts if banks[value] >= plan.privacy.min_banks]
    chosen = sorted(agreed, key=lambda value: (-counts[value], value))[:MOST_CATEGORIES]
    rest = sum(part.other for part in parts) + sum(counts.values()) - sum(counts[value] for value in chosen)
    if not chosen and not missing:
        return None
    other = bool(chosen) and rest >= plan.privacy.min_cell
    return CategoricalInput(name=feature.name, categories=sorted(chosen, key=_place), other=other, missing=missing)


def _place(value: str) -> tuple[float, str]:
    """Numbers by size before texts by letter."""
    try:
        return float(value), value
    except ValueError:
        return math.inf, value


def _require_names(expected: list[str], got: list[str]) -> None:
    if got != expected:
        raise StatisticsInvalid(expected=", ".join(expected)[:500] or "no such features", got=", ".join(got)[:500] or "none")


def _check_numeric(number: NumericStatistics, rows: int, min_cell: int) -> None:
    _require_cells(number.name, [number.count, number.missing], rows, min_cell)
    if not (abs(number.mean) <= LARGEST and 0 <= number.m2 <= 4 * LARGEST**2 * rows):
        raise StatisticsInvalid(
            expected=f"{number.name}: finite moments of values up to {LARGEST:g}", got=f"mean {number.mean:g}, m2 {number.m2:g}"
        )
    if number.count == 0 and (number.mean or number.m2):
        raise StatisticsInvalid(expected=f"{number.name}: no moments without customers", got=f"mean {number.mean:g}")


def _check_categorical(feature: Feature, category: CategoricalStatistics, rows: int, min_cell: int) -> None:
    _require_cells(category.name, [*category.counts.values(), category.other, category.missing], rows, min_cell)
    if len(category.counts) > MOST_REPORTED or any(len(value) > LONGEST_CATEGORY for value in category.counts):
        raise StatisticsInvalid(
            expected=f"{category.name}: at most {MOST_REPORTED} categories of {LONGEST_CATEGORY} letters",
            got=f"{len(category.counts)}",
        )
    if any(not value or as_text(value) != value for value in category.counts):
        raise StatisticsInvalid(expected=f"{category.name}: categories as texts (1, not 1.0)", got="another spelling")
    if feature.categories is not None and (strange := set(category.counts) - {as_text(value) for value in feature.categories}):
        raise StatisticsInvalid(expected=f"{category.name}: the plan's categories", got=sorted(strange)[0][:100])


def _require_cells(name: str, cells: list[int], rows: int, min_cell: int) -> None:
    if sum(cells) > rows:
        raise StatisticsInvalid(expected=f"{name}: at most {rows} customers", got=f"{sum(cells)}")
    if any(0 < cell < min_cell for cell in cells):
        raise StatisticsInvalid(expected=f"{name}: no number of customers from 1 to {min_cell - 1}", got="one")
