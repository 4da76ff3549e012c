"""How each update lies to the result. For people to look at: its last bits are the machine's, and no rule uses it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rounds.algorithms.files import spans
from rounds.algorithms.gram import combination
from rounds.algorithms.strategy import Block, Wide

WIDEST = 8192
"""Longer vectors would wake the BLAS library's threads."""
SMALLEST, LARGEST = 1e-20, 1e30
"""Between these float32 tells a sum of squares to six digits; others are added up in float64."""


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
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            narrow = difference.astype(np.float32)
            for start, size in spans(len(difference), WIDEST):
                columns = slice(start, start + size)
                if not self._add(updates[:, columns], narrow[columns]):
                    self._add(updates[:, columns].astype(np.float64), difference[columns], exact=True)

    def _add(self, updates: Block | Wide, difference: Block | Wide, *, exact: bool = False) -> bool:
        """Whether these columns were added up: not where numbers are too large or too small for their type."""
        squares, total = np.vecdot(updates, updates), np.vecdot(difference, difference)
        least, most = min(squares.min(initial=total), total), max(squares.max(initial=total), total)
        if not exact and not SMALLEST <= least <= most <= LARGEST:  # NaN is not between them
            return False
        self._squares += squares
        self._dots += np.vecdot(updates, difference)
        self._total += float(total)
        return True

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
