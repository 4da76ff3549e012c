"""Order statistics of every column at once: a sorting network whose comparators are elementwise minima and maxima of whole rows.

The network is Batcher's merge exchange (Knuth, TAOCP 3, algorithm 5.2.2M), for any number of rows; comparators on whose outcome
no wanted place depends are left out. Many times as fast as sorting column by column. A network grows faster than a sort does:
from 64 rows on the columns are sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rounds.algorithms.strategy import Block

MOST_ROWS = 64


@dataclass(frozen=True)
class Comparator:
    """Puts the smaller of two rows at ``low`` and the larger at ``high``; only what is wanted of it is computed."""

    low: int
    high: int
    keeps_low: bool = True
    keeps_high: bool = True


def order_statistics(block: Block, wanted: range) -> list[Block]:
    """The rows (width,) that hold the ``wanted`` places of each sorted column of a block (banks, width)."""
    if len(block) > MOST_ROWS:
        return _sorted(block)[wanted.start : wanted.stop]
    return _run(block, network(len(block), wanted))[wanted.start : wanted.stop]


def without_extremes(block: Block, cut: int) -> list[Block]:
    """What is left of a block (banks, width) without the ``cut`` smallest and largest values of each column, unsorted rows."""
    if len(block) > MOST_ROWS:
        return _sorted(block)[cut : len(block) - cut]
    return _run(block, middle_network(len(block), cut))[cut : len(block) - cut]


def _sorted(block: Block) -> list[Block]:
    columns = np.sort(np.ascontiguousarray(block.T) + np.float32(0), axis=1)
    return list(np.ascontiguousarray(columns.T))


def _run(block: Block, steps: Sequence[Comparator]) -> list[Block]:
    rows = list(block + np.float32(0))  # a copy, and -0 becomes 0: their order would be the machine's
    spare = np.empty_like(rows[0])
    for step in steps:
        low, high = rows[step.low], rows[step.high]
        if step.keeps_low and step.keeps_high:
            np.minimum(low, high, out=spare)
            np.maximum(low, high, out=high)
            rows[step.low], spare = spare, low
        elif step.keeps_low:
            np.minimum(low, high, out=low)
        else:
            np.maximum(low, high, out=high)
    return rows


@lru_cache(maxsize=256)
def network(rows: int, wanted: range) -> tuple[Comparator, ...]:
    """The comparators, in order, that bring the wanted places of ``rows`` values to where they belong."""
    return _pruned(_merge_exchange(rows), wanted)


@lru_cache(maxsize=256)
def middle_network(rows: int, cut: int) -> tuple[Comparator, ...]:
    """Brings the ``cut`` smallest and largest values to the ends, the rest in any order. The cheaper of two ways."""
    sorting = _pruned(_merge_exchange(rows), range(cut, rows - cut))
    peeling = _peel(rows, cut)
    return min(sorting, peeling, key=_cost)


def _cost(network: Sequence[Comparator]) -> int:
    return sum(step.keeps_low + step.keeps_high for step in network)


def _merge_exchange(rows: int) -> list[Comparator]:
    steps: list[Comparator] = []
    top = 1 << max(rows - 1, 0).bit_length() >> 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            steps += [Comparator(i, i + d) for i in range(rows - d) if i & p == r]
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return steps


def _peel(rows: int, cut: int) -> tuple[Comparator, ...]:
    steps: list[Comparator] = []
    for k in range(cut):
        steps += [Comparator(i, i + 1) for i in range(k, rows - 1 - k)]
        steps += [Comparator(i - 1, i) for i in range(rows - 2 - k, k, -1)]
    return _pruned(steps, range(cut, rows - cut))


def _pruned(steps: Sequence[Comparator], wanted: range) -> tuple[Comparator, ...]:
    needed, kept = set(wanted), []
    for step in reversed(steps):
        low, high = step.low in needed, step.high in needed
        if low or high:
            kept.append(Comparator(step.low, step.high, low, high))
            needed |= {step.low, step.high}
    return tuple(reversed(kept))
