"""A bank's table in memory: one numpy array for each column that the plan needs, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Codes = NDArray[np.int32]
Labels = NDArray[np.int8]
Rows = NDArray[np.int64]

MISSING_CODE = -1


@dataclass(frozen=True)
class Categories:
    """A categorical column: ``codes`` (rows,) index ``values``; -1 is missing. Values are texts as in ``plan.as_text``."""

    codes: Codes
    values: list[str]

    def take(self, rows: Rows) -> Categories:
        return Categories(self.codes[rows], self.values)

    def counts(self) -> NDArray[np.int64]:
        """Customers (values,) of each value; missing ones are not counted."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))


@dataclass(frozen=True)
class Table:
    """Numbers are float64 with NaN for missing. ``labels`` is 1 for the positive value, else 0; empty where not asked for.

    ``segment`` is the column whose groups the plan compares; it is no feature by being it, and does not move the split.
    """

    rows: int
    numeric: dict[str, Numbers]
    categorical: dict[str, Categories]
    labels: Labels
    segment: Categories | None = None

    @property
    def positives(self) -> int:
        return int(self.labels.sum())

    def take(self, rows: Rows) -> Self:
        return type(self)(
            len(rows),
            {name: column[rows] for name, column in self.numeric.items()},
            {name: column.take(rows) for name, column in self.categorical.items()},
            self.labels[rows] if len(self.labels) else self.labels,
            self.segment.take(rows) if self.segment else None,
        )
