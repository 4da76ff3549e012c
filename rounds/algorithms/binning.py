"""Which bins a number is cut into: near-equal shares, values that many hold apart, each bin borne by enough banks (invariant 13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rounds.algorithms.cells import Counts, Floats, PooledCells

Sound = Callable[[Counts, Counts], bool]
"""Whether a bin may stand, from its customers (banks,) and the bad among them (banks,)."""


def even_levels(bins: int) -> Floats:
    """The inner quantile levels of ``bins`` equal shares."""
    return np.arange(1, bins) / bins


def quantile_edges(pooled: PooledCells, levels: Floats, *, top: bool = False) -> list[float]:
    """Points at these levels, ascending and distinct. A value whose share exceeds a step between levels gets an edge below it too.

    ``top`` keeps an edge that no customer is above.
    """
    shares, step = pooled.shares, float(np.diff(levels, prepend=0, append=1).max())
    chosen: set[int] = set()
    for j in np.searchsorted(shares, levels - 1e-12):
        if j < len(shares):
            chosen.add(int(j))
            if j and shares[j] - shares[j - 1] >= step:
                chosen.add(int(j) - 1)
    return [float(pooled.points[j]) for j in sorted(chosen) if top or pooled.below[j] < pooled.total]


def sound_bins(min_banks: int, min_cell: int, fewest_of_a_class: int = 0) -> Sound:
    """A bin needs ``min_banks`` banks with ``min_cell`` customers each; of each class at least so many in all."""

    def sound(customers: Counts, bad: Counts) -> bool:
        enough = np.count_nonzero(customers >= min_cell) >= min_banks
        fewest = min(int(bad.sum()), int(customers.sum() - bad.sum()))
        return bool(enough and fewest >= fewest_of_a_class)

    return sound


def merged_edges(pooled: PooledCells, edges: Sequence[float], sound: Sound) -> list[float]:
    """The edges that remain when bins are merged with their right neighbours until each is sound; the last one with its left."""
    customers, bad = pooled.in_bins(edges)
    kept: list[float] = []
    starts = [0]
    for i, edge in enumerate(edges):
        part = slice(starts[-1], i + 1)
        if sound(customers[:, part].sum(axis=1), bad[:, part].sum(axis=1)):
            kept.append(edge)
            starts.append(i + 1)
    while kept and customers[:, starts[-1] :].any():
        rest = slice(starts[-1], len(edges) + 1)
        if sound(customers[:, rest].sum(axis=1), bad[:, rest].sum(axis=1)):
            break
        kept.pop()
        starts.pop()
    return kept


def monotonic_edges(edges: Sequence[float], good: Counts, bad: Counts, *, rising: bool) -> list[float]:
    """Edges between bins whose share of bads only rises, or only falls (pool adjacent violators; Ayer et al. 1955).

    ``good`` and ``bad``: customers (bins,) of the bins between ``edges``.
    """
    blocks: list[list[int]] = []  # [good, bad, last bin]
    for i, (g, b) in enumerate(zip(good.tolist(), bad.tolist(), strict=True)):
        blocks.append([g, b, i])
        while len(blocks) > 1 and _violates(blocks[-2], blocks[-1], rising):
            g, b, last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + g, blocks[-1][1] + b, last]
    return [edges[last] for _, _, last in blocks[:-1]]


def _violates(left: list[int], right: list[int], rising: bool) -> bool:
    """Whether the share of bads does not strictly move the wanted way, in whole numbers."""
    ahead = right[1] * (left[0] + left[1]) - left[1] * (right[0] + right[1])
    return ahead <= 0 if rising else ahead >= 0
