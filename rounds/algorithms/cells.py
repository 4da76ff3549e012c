"""Distributions of all banks together out of each bank's cells, and the bins that may be published of them.

Each bank counts in cells of its own. Taking every customer to lie at its cell's upper end, the share up to a point is never more
than the true one, and less by at most the cells that lie astride it: that is the stated error of every quantile here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.messages import Cells

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class PooledCells:
    """``points`` (m,): all banks' ends, ascending. ``below`` (m,): customers up to each, at least. ``astride`` (m,): perhaps more."""

    parts: tuple[Cells, ...]
    points: Floats
    below: Counts
    astride: Counts
    total: int

    @property
    def shares(self) -> Floats:
        """(m,) of all customers up to each point."""
        return self.below / max(self.total, 1)

    def rank_error(self, edges: Sequence[float]) -> float:
        """How much larger the share up to any of these points may truly be."""
        places = np.searchsorted(self.points, edges)
        return float(self.astride[places].max(initial=0) / max(self.total, 1))

    def in_bins(self, edges: Sequence[float]) -> tuple[Counts, Counts]:
        """Customers, and the bad among them, (banks, bins) in the bins between ``edges``, which are points."""
        customers = np.zeros((len(self.parts), len(edges) + 1), np.int64)
        bad = np.zeros_like(customers)
        for i, part in enumerate(self.parts):
            places = np.searchsorted(edges, _ends(part), side="left")
            np.add.at(customers[i], places, part.customers)
            if part.bad:
                np.add.at(bad[i], places, part.bad)
        return customers, bad


def pool_cells(parts: Sequence[Cells]) -> PooledCells:
    """What all banks' cells say together."""
    points = np.unique(np.concatenate([np.array(part.upper, np.float64) for part in parts]))
    at = np.zeros(len(points) + 1, np.int64)
    opens, closes = np.zeros_like(at), np.zeros_like(at)
    for part in parts:
        ends = np.searchsorted(points, _ends(part))
        starts = np.concatenate([[0], ends[:-1] + 1])
        starts[part.single] = ends[part.single]
        np.add.at(at, ends, part.customers)
        np.add.at(opens, starts, part.customers)
        np.add.at(closes, ends, part.customers)
    return PooledCells(
        tuple(parts), points, at.cumsum()[:-1], (opens - closes).cumsum()[:-1], sum(sum(part.customers) for part in parts)
    )


def _ends(part: Cells) -> Floats:
    """The upper end of each cell; infinite for an open one."""
    return np.array([*part.upper, *[np.inf] * (len(part.customers) - len(part.upper))])
