"""Which reports of the statistics stage are refused: not of this plan, not possible, or showing too small a number."""

from __future__ import annotations

from itertools import pairwise

from clientagent.wire.errors import StatisticsInvalid
from clientagent.wire.grid import rounded_to_grid
from clientagent.wire.messages import CategoricalStatistics, Cells, NumericStatistics, StatisticsReport
from clientagent.wire.plan import Feature, Plan, as_text

LARGEST = 1e100
"""Larger means are refused: their squares would overflow."""
MOST_REPORTED = 1000
LONGEST_CATEGORY = 128


def check_report(plan: Plan, report: StatisticsReport) -> None:
    """Raises ``StatisticsInvalid`` for a report that is not of this plan, cannot be true, or shows too small a number."""
    numeric = [feature.name for feature in plan.features if feature.kind == "numeric"]
    features = [feature for feature in plan.features if feature.kind == "categorical"]
    _require_names(numeric, [number.name for number in report.numeric])
    _require_names([feature.name for feature in features], [category.name for category in report.categorical])
    for number in report.numeric:
        _check_numeric(plan, number, report.rows)
    for feature, category in zip(features, report.categorical, strict=True):
        _check_categorical(plan, feature, category, report.rows)


def check_declaration(report: StatisticsReport) -> None:
    """Raises ``StatisticsInvalid`` for a declaration, before statistics are summed under masks, that tells any of them."""
    if report.numeric or report.categorical:
        raise StatisticsInvalid(
            expected="rows alone, as the plan masks statistics", got="statistics of one bank", action="Do not send them again unmasked."
        )


def _require_names(expected: list[str], got: list[str]) -> None:
    if got != expected:
        raise StatisticsInvalid(expected=", ".join(expected)[:500] or "no such features", got=", ".join(got)[:500] or "none")


def _check_numeric(plan: Plan, number: NumericStatistics, rows: int) -> None:
    _require_counts(number.name, [number.count, number.missing], rows, plan.privacy.min_cell)
    if not (abs(number.mean) <= LARGEST and 0 <= number.m2 <= 4 * LARGEST**2 * rows):
        raise StatisticsInvalid(
            expected=f"{number.name}: finite moments of values up to {LARGEST:g}", got=f"mean {number.mean:g}, m2 {number.m2:g}"
        )
    if number.count == 0 and (number.mean or number.m2):
        raise StatisticsInvalid(expected=f"{number.name}: no moments without customers", got=f"mean {number.mean:g}")
    weighs = plan.numeric_method == "woe"
    _require_bad(number.name, weighs, [number.missing], [number.missing_bad])
    if number.cells is not None:
        _check_cells(number, number.cells, weighs, plan.privacy.min_cell)
    elif number.count and plan.numeric_method != "zscore":
        raise StatisticsInvalid(expected=f"{number.name}: cells, of which {plan.numeric_method} is made", got="none")


def _check_cells(number: NumericStatistics, cells: Cells, weighs: bool, min_cell: int) -> None:
    if not number.count or len(cells.customers) - len(cells.upper) not in (0, 1):
        raise StatisticsInvalid(expected=f"{number.name}: cells, all but the last with an upper end", got="others")
    if sum(cells.customers) != number.count:
        raise StatisticsInvalid(
            expected=f"{number.name}: cells of {number.count} customers", got=f"cells of {sum(cells.customers)}"
        )
    if min(cells.customers) < min_cell:
        raise StatisticsInvalid(expected=f"{number.name}: cells of at least {min_cell} customers", got="a smaller one")
    if any(low >= high for low, high in pairwise(cells.upper)) or not all(map(_is_end, cells.upper)):
        raise StatisticsInvalid(expected=f"{number.name}: ascending ends of four significant digits", got="others")
    if any(i >= len(cells.upper) for i in cells.single):
        raise StatisticsInvalid(expected=f"{number.name}: single cells that have an upper end", got="others")
    _require_bad(number.name, weighs, cells.customers, _bad_of(cells))


def _is_end(value: float) -> bool:
    return abs(value) <= 2 * LARGEST and rounded_to_grid(value) == value


def _bad_of(cells: Cells) -> list[int]:
    return cells.bad or [0] * len(cells.customers)


def _check_categorical(plan: Plan, feature: Feature, category: CategoricalStatistics, rows: int) -> None:
    _require_counts(
        category.name, [*category.counts.values(), category.other, category.missing], rows, plan.privacy.min_cell
    )
    if len(category.counts) > MOST_REPORTED or any(len(value) > LONGEST_CATEGORY for value in category.counts):
        raise StatisticsInvalid(
            expected=f"{category.name}: at most {MOST_REPORTED} categories of {LONGEST_CATEGORY} letters",
            got=f"{len(category.counts)}",
        )
    if any(not value or as_text(value) != value for value in category.counts):
        raise StatisticsInvalid(expected=f"{category.name}: categories as texts (1, not 1.0)", got="another spelling")
    if feature.categories is not None and (strange := set(category.counts) - {as_text(value) for value in feature.categories}):
        raise StatisticsInvalid(expected=f"{category.name}: the plan's categories", got=sorted(strange)[0][:100])
    weighs = plan.categorical_method == "woe"
    if weighs and set(category.bad) != set(category.counts):
        raise StatisticsInvalid(expected=f"{category.name}: the positives of each category", got="of others")
    bad = [*(category.bad.get(value, 0) for value in category.counts), category.other_bad, category.missing_bad]
    _require_bad(category.name, weighs, [*category.counts.values(), category.other, category.missing], bad)
    if not weighs and category.bad:
        raise StatisticsInvalid(expected=f"{category.name}: no positives in this plan", got=f"{sum(category.bad.values())}")


def _require_counts(name: str, counts: list[int], rows: int, min_cell: int) -> None:
    if sum(counts) > rows:
        raise StatisticsInvalid(expected=f"{name}: at most {rows} customers", got=f"{sum(counts)}")
    if any(0 < count < min_cell for count in counts):
        raise StatisticsInvalid(expected=f"{name}: no number of customers from 1 to {min_cell - 1}", got="one")


def _require_bad(name: str, weighs: bool, customers: list[int], bad: list[int]) -> None:
    if not weighs and any(bad):
        raise StatisticsInvalid(expected=f"{name}: no positives in this plan", got=f"{sum(bad)}")
    if len(bad) != len(customers) or any(b > n for b, n in zip(bad, customers, strict=True)):
        raise StatisticsInvalid(expected=f"{name}: no more positives than customers", got="more")
