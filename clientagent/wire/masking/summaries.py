"""The statistics stage as coordinates of a masked vector: the portal learns the sums that preprocessing is made of, and no bank's own.

Sums and sums of squares are exact whatever the sizes of the numbers (``digits``), counts are whole numbers, and categories that the
plan does not list are read out of the sum (``sketch``). Beside each count that is published only over enough banks goes the number of
banks behind it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import CohortMismatch, RingExceeded, StatisticsInvalid
from clientagent.wire.masking import sketch
from clientagent.wire.masking.digits import BASE, FixedPoint
from clientagent.wire.masking.encoding import counts
from clientagent.wire.messages import CategoricalStatistics, NumericStatistics, StatisticsReport
from clientagent.wire.plan import Feature, Plan, as_text
from clientagent.wire.secure_messages import Segment

SUM = FixedPoint(below=72, above=120)
SQUARES = FixedPoint(below=144, above=216)
"""Of values below 2**80 in up to 2**40 rows; a spread below 2**-60 is lost."""
LARGEST_MEAN = 2.0**80
MOST_NAMES = 600
"""Different categories that one column may have over all banks; fewer where the vector would grow too large."""
FEWEST_NAMES = 100
MOST_WORDS = 1_900_000
"""Of a vector that travels in one request."""
Parts = dict[str, NDArray[np.int64]]
OF_A_NUMBER = ("count", "missing", "missing_bad")
HELD_OF_A_NUMBER = ("holders", "missing_holders")
OF_THE_REST = ("other", "other_bad", "missing", "missing_bad")
HELD_OF_THE_REST = ("other_holders", "missing_holders")


@dataclass(frozen=True)
class NumberSum:
    """One number over all banks: exact sums of its values and their squares, and how many banks hold it, and miss it in some rows."""

    name: str
    count: int
    missing: int
    missing_bad: int
    holders: int
    missing_holders: int
    total: Fraction
    squares: Fraction


@dataclass(frozen=True)
class CategoriesSum:
    """One category column over all banks."""

    name: str
    told: dict[str, sketch.Told]
    other: int
    other_bad: int
    missing: int
    missing_bad: int
    other_holders: int
    missing_holders: int


@dataclass(frozen=True)
class StatisticsSum:
    """What a cohort of so many ``banks`` opened."""

    banks: int
    numbers: list[NumberSum]
    categories: list[CategoriesSum]


# ------------------------------------------------------------------------ the layout
def statistics_segments(plan: Plan, *, most_rows: int) -> list[Segment]:
    """Room for the statistics of banks of up to ``most_rows`` training rows. Raises ``CohortMismatch`` where nothing is to be summed."""
    numbers, listed, unlisted = _columns(plan)
    features, rest, weighs = len(numbers), len(listed) + len(unlisted), plan.categorical_method == "woe"
    named = sum(len(feature.categories or ()) for feature in listed)
    cells = sketch.cells_for(_names_for(plan)) * len(unlisted)
    many, one = {"most": most_rows}, {"most": 1}
    wanted = [
        (features, lambda: counts("numeric.counts", features * len(OF_A_NUMBER), **many)),
        (features, lambda: counts("numeric.holders", features * len(HELD_OF_A_NUMBER), **one)),
        (features, lambda: Segment(name="numeric.moments", values=features * (SUM.digits + SQUARES.digits), bound=BASE)),
        (rest, lambda: counts("categorical.rest", rest * len(OF_THE_REST), **many)),
        (rest, lambda: counts("categorical.holders", rest * len(HELD_OF_THE_REST), **one)),
        (named, lambda: counts("listed.customers", named, **many)),
        (named and weighs, lambda: counts("listed.bad", named, **many)),
        (named, lambda: counts("listed.holders", named, **one)),
        (cells, lambda: counts("sketch.holders", cells, most=sketch.MOST_TOLD)),
        (cells, lambda: counts("sketch.customers", cells, **many)),
        (cells and weighs, lambda: counts("sketch.bad", cells, **many)),
        (cells, lambda: counts("sketch.names", cells * (sketch.DIGITS + 1), most=sketch.MOST_TOLD * ((1 << 16) - 1))),
    ]
    segments = [make() for is_wanted, make in wanted if is_wanted]
    if not segments:
        raise CohortMismatch(expected="statistics to be summed", got="a plan without any")
    return segments


def most_rows_for(rows: int) -> int:
    """The room that is made for a largest bank of so many rows: a power of two, which tells little of it."""
    return 1 << max(rows - 1, 1).bit_length()


def most_rows_offered(segments: Sequence[Segment], own_rows: int) -> int:
    """The room for rows that offered terms have. Any power of two is harmless, as long as our own have room. Raises ``CohortMismatch``."""
    found = {segment.name: int(segment.bound) for segment in segments}
    most = found.get("numeric.counts", found.get("categorical.rest", 0))
    if most < own_rows or most & (most - 1) or most > 2**40:
        raise CohortMismatch(expected=f"room for a power of two of rows, at least our {own_rows}", got=str(most))
    return most


def _columns(plan: Plan) -> tuple[list[str], list[Feature], list[Feature]]:
    """Names of numbers; category columns with their categories in the plan, and without."""
    numbers = [feature.name for feature in plan.features if feature.kind == "numeric"]
    columns = [feature for feature in plan.features if feature.kind == "categorical"]
    return numbers, [one for one in columns if one.categories is not None], [one for one in columns if one.categories is None]


def _names_for(plan: Plan) -> int:
    """How many different categories of a column have room: as many as all banks may tell, within what a vector may weigh."""
    unlisted = len(_columns(plan)[2])
    room = MOST_WORDS // max(unlisted, 1) // (sketch.DIGITS + 4) / sketch.ROOM
    return int(max(FEWEST_NAMES, min(MOST_NAMES, sketch.MOST_TOLD * len(plan.participants), math.floor(room))))


# -------------------------------------------------------------------------- one bank
def statistics_integers(plan: Plan, report: StatisticsReport) -> Parts:
    """One bank's statistics for ``Ring.encode``. Raises ``StatisticsInvalid`` for a number too large to be summed, by its column."""
    _, listed, unlisted = _columns(plan)
    of_column = {part.name: part for part in report.categorical}
    rest = [*listed, *unlisted]
    told = {feature.name: _told(feature, of_column[feature.name]) for feature in rest}
    values = [told[feature.name].listed_in(feature) for feature in listed]
    cells = [_cells_of(plan, feature.name, told[feature.name]) for feature in unlisted]
    parts: dict[str, Sequence[Sequence[int] | NDArray[np.int64]]] = {
        "numeric.counts": [[number.count, number.missing, number.missing_bad] for number in report.numeric],
        "numeric.holders": [[number.count > 0, number.missing > 0] for number in report.numeric],
        "numeric.moments": [_moments(number) for number in report.numeric],
        "categorical.rest": [told[feature.name].rest for feature in rest],
        "categorical.holders": [told[feature.name].held for feature in rest],
        "listed.customers": [[customers for customers, _ in rows] for rows in values],
        "listed.bad": [[bad for _, bad in rows] for rows in values],
        "listed.holders": [[customers > 0 for customers, _ in rows] for rows in values],
        "sketch.holders": [one.holders for one in cells],
        "sketch.customers": [one.customers for one in cells],
        "sketch.bad": [one.bad for one in cells],
        "sketch.names": [one.names.reshape(-1) for one in cells],
    }
    wanted = {segment.name for segment in statistics_segments(plan, most_rows=most_rows_for(report.rows))}
    return {name: np.concatenate([np.asarray(row, np.int64) for row in rows]) for name, rows in parts.items() if name in wanted}


@dataclass(frozen=True)
class _OneBank:
    """What one bank tells of a category column: (customers, bad) by category, and what is told together."""

    told: dict[str, tuple[int, int]]
    rest: list[int]

    @property
    def held(self) -> list[bool]:
        return [self.rest[0] > 0, self.rest[2] > 0]

    def listed_in(self, feature: Feature) -> list[tuple[int, int]]:
        return [self.told.get(as_text(value), (0, 0)) for value in feature.categories or ()]


def _told(feature: Feature, part: CategoricalStatistics) -> _OneBank:
    """An unlisted column tells its most frequent categories whose names have room; the others count together."""
    told = {value: (count, part.bad.get(value, 0)) for value, count in part.counts.items()}
    other, other_bad = part.other, part.other_bad
    if feature.categories is None:
        fit = sorted((value for value in told if sketch.fits(value)), key=lambda value: (-told[value][0], value))[: sketch.MOST_TOLD]
        left = set(told) - set(fit)
        other, other_bad = other + sum(told[value][0] for value in left), other_bad + sum(told[value][1] for value in left)
        told = {value: told[value] for value in fit}
    return _OneBank(told, [other, other_bad, part.missing, part.missing_bad])


def _cells_of(plan: Plan, column: str, bank: _OneBank) -> sketch.Cells:
    return sketch.filled(bank.told, sketch.cells_for(_names_for(plan)), salt=_salt(plan, column))


def _salt(plan: Plan, column: str) -> str:
    return f"{plan.hash}\n{column}"


def _moments(number: NumericStatistics) -> list[int]:
    """Digits of the sum and the sum of squares that follow from count, mean and m2; all of them exactly as they are written."""
    mean, m2 = Fraction(number.mean), Fraction(number.m2)
    try:
        if abs(mean) > LARGEST_MEAN:
            raise RingExceeded(expected="a smaller mean", got="a larger one")
        return [*SUM.digits_of(number.count * mean), *SQUARES.digits_of(m2 + number.count * mean * mean)]
    except RingExceeded:
        raise StatisticsInvalid(
            expected=f"{number.name}: values below {LARGEST_MEAN:.1g}, which can be summed under masks", got="larger ones",
            action="Give this column another unit.",
        ) from None


# ---------------------------------------------------------------------------- the sum
def opened_statistics(plan: Plan, sums: Mapping[str, NDArray[np.int64]], *, banks: int) -> StatisticsSum:
    """What a cohort's opened sum says of each column. Raises ``StatisticsInvalid`` for a sum that no honest banks could have made."""
    numbers, listed, unlisted = _columns(plan)
    found = [_number(name, i, sums) for i, name in enumerate(numbers)]
    place, told = 0, {}
    for feature in listed:
        names = [as_text(value) for value in feature.categories or ()]
        told[feature.name] = _listed(names, slice(place, place + len(names)), sums)
        place += len(names)
    for i, feature in enumerate(unlisted):
        told[feature.name] = sketch.emptied(_summed_cells(plan, i, sums), salt=_salt(plan, feature.name), column=feature.name)
    rest = [feature.name for feature in (*listed, *unlisted)]
    of_rest = {name: _rest(i, sums) for i, name in enumerate(rest)}
    ordered = [feature.name for feature in plan.features if feature.kind == "categorical"]
    return StatisticsSum(banks, found, [CategoriesSum(name=name, told=told[name], **of_rest[name]) for name in ordered])


def _number(name: str, i: int, sums: Mapping[str, NDArray[np.int64]]) -> NumberSum:
    count, missing, missing_bad = (int(n) for n in sums["numeric.counts"].reshape(-1, 3)[i])
    holders, missing_holders = (int(n) for n in sums["numeric.holders"].reshape(-1, 2)[i])
    digits = sums["numeric.moments"].reshape(-1, SUM.digits + SQUARES.digits)[i].tolist()
    total, squares = SUM.value_of(digits[: SUM.digits]), SQUARES.value_of(digits[SUM.digits :])
    if bool(count) != bool(holders) or (not count and (total or squares)) or missing_bad > missing:
        raise StatisticsInvalid(expected=f"{name}: sums that some banks' customers could have", got="others")
    return NumberSum(name, count, missing, missing_bad, holders, missing_holders, total, squares)


def _listed(names: list[str], where: slice, sums: Mapping[str, NDArray[np.int64]]) -> dict[str, sketch.Told]:
    customers, holders = sums["listed.customers"][where], sums["listed.holders"][where]
    bad = sums["listed.bad"][where] if "listed.bad" in sums else np.zeros(len(names), np.int64)
    rows = zip(names, customers.tolist(), bad.tolist(), holders.tolist(), strict=True)
    return {name: sketch.Told(*row) for name, *row in rows if row[0]}


def _summed_cells(plan: Plan, i: int, sums: Mapping[str, NDArray[np.int64]]) -> sketch.Cells:
    cells = sketch.cells_for(_names_for(plan))
    where = slice(i * cells, (i + 1) * cells)
    bad = sums["sketch.bad"][where] if "sketch.bad" in sums else np.zeros(cells, np.int64)
    names = sums["sketch.names"].reshape(-1, sketch.DIGITS + 1)[where]
    return sketch.Cells(sums["sketch.holders"][where], sums["sketch.customers"][where], bad, names)


def _rest(i: int, sums: Mapping[str, NDArray[np.int64]]) -> dict[str, int]:
    counted = sums["categorical.rest"].reshape(-1, len(OF_THE_REST))[i].tolist()
    held = sums["categorical.holders"].reshape(-1, len(HELD_OF_THE_REST))[i].tolist()
    return dict(zip((*OF_THE_REST, *HELD_OF_THE_REST), (*counted, *held), strict=True))
