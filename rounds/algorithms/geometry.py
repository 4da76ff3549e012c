"""How each update lies to the result. For people to look at: its last bits are the machine's, and no rule uses it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rounds.algorithms.files import spans
from rounds.algorithms.gram import combination
from rounds.algorithms.strategy import Block, Wide

WIDEST = 8192
"""Longer vectors would wake the BLAS library's threads."""


@dataclass(frozen=True)
class Geometry:
    """L2 norms (banks,) of the updates and their cosines (banks,) to the aggregated difference."""

    norms: Wide
    cosines: Wide


class Measure:
    """Adds up the geometry while pieces go by."""

    def __init__(self, banks: int) -> None:
        self._squares, self._dots, self._total = np.zeros(banks), np.zeros(banks), 0.0

    def add(self, updates: Block, difference: Wide) -> None:
        """A piece of the updates (banks, width) and of the result (width,)."""
        for start, size in spans(len(difference), WIDEST):
            wide, part = updates[:, start : start + size].astype(np.float64), difference[start : start + size]
            self._squares += np.vecdot(wide, wide)
            self._dots += np.vecdot(wide, part)
            self._total += float(np.vecdot(part, part))

    @property
    def sums(self) -> Wide:
        """What was added up, (2 * banks + 1,): so that a part of it can be kept and taken in elsewhere."""
        return np.concatenate([self._squares, self._dots, [self._total]])

    def take_in(self, sums: Wide) -> None:
        """Add what was added up over other columns."""
        banks = len(self._squares)
        self._squares += sums[:banks]
        self._dots += sums[banks : 2 * banks]
        self._total += float(sums[-1])

    @property
    def geometry(self) -> Geometry:
        return _geometry(self._squares, self._dots, self._total)


def geometry_of(products: Wide, coefficients: Wide) -> Geometry:
    """Of a combination of the updates, from their inner products (banks, banks) alone."""
    dots = combination(coefficients, products)
    return _geometry(np.diagonal(products), dots, float(np.add.reduce(coefficients * dots)))


def _geometry(squares: Wide, dots: Wide, total: float) -> Geometry:
    norms = np.sqrt(squares)
    scale = norms * np.sqrt(max(total, 0.0))
    return Geometry(norms, np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0))
