"""A bank's table: one numpy array for each column that the plan needs, and no others; in memory, or on disk where it is large."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from clientagent.data.store import Store

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


C = TypeVar("C", Numbers, Categories)


class Taken(Mapping[str, C], Generic[C]):
    """Some rows of columns on disk; a column is read when it is asked for, and not kept."""

    def __init__(self, source: Mapping[str, C], rows: Rows) -> None:
        self._source: Mapping[str, C] = source
        self._rows = rows

    def __getitem__(self, name: str) -> C:
        return _picked(self._source[name], self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)

    def take(self, rows: Rows) -> Taken[C]:
        return Taken(self._source, self._rows[rows])


def _picked(column: C, rows: Rows) -> C:
    return column.take(rows) if isinstance(column, Categories) else column[rows]


@dataclass(frozen=True)
class Table:
    """Numbers are float64 with NaN for missing. ``labels`` is 1 for the positive value, else 0; empty where not asked for.

    ``segment`` is the column whose groups the plan compares; it is no feature by being it, and does not move the split.
    ``store``: where the columns of a table lie that is larger than memory; None where they are in it.
    """

    rows: int
    numeric: Mapping[str, Numbers]
    categorical: Mapping[str, Categories]
    labels: Labels
    segment: Categories | None = None
    store: Store | None = None

    @property
    def positives(self) -> int:
        return int(self.labels.sum())

    def take(self, rows: Rows) -> Self:
        return type(self)(
            len(rows), self._some(self.numeric, rows), self._some(self.categorical, rows),
            self.labels[rows] if len(self.labels) else self.labels, self.segment.take(rows) if self.segment else None, self.store,
        )

    def in_blocks(self) -> Iterator[tuple[int, Self]]:
        """(first row, rows from there on) of what fits into memory at a time: the whole table where it is there already."""
        if self.store is None:
            yield 0, self
            return
        size = self.store.rows_at_a_time(16 * (len(self.numeric) + len(self.categorical) + 1))
        for start in range(0, self.rows, size):
            yield start, self.take(np.arange(start, min(start + size, self.rows)))

    def _some(self, columns: Mapping[str, C], rows: Rows) -> Mapping[str, C]:
        if isinstance(columns, Taken):
            return columns.take(rows)
        if self.store is not None:
            return Taken(columns, rows)
        return {name: _picked(column, rows) for name, column in columns.items()}
