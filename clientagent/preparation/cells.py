"""A column's distribution as a bank may tell it: customers in cells of about equal size, none of them small (invariant 13).

Cells end at numbers of four significant digits, so that they fall together among banks; a value that many customers share has a
cell of its own. Any rank follows from a bank's cells to within one cell: a share of 1 / ``resolution`` of its rows, unless
``min_cell`` customers are more.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clientagent.data.table import Labels, Numbers
from clientagent.wire.grid import DIGITS, rounded_to_grid
from clientagent.wire.messages import Cells
from clientagent.wire.plan import Plan

BLOCK = 1 << 17
COARSE, FINE = 20, 200
"""Cells to a bank: enough to notice drift by, and enough to agree on quantiles by."""
MOST_CELLS = 40_000
"""In one report, however many features there are."""


def resolution_of(plan: Plan) -> int:
    """How many cells a column is told in; 0: none, where the statistics are part of a privacy budget or summed under masks."""
    if plan.protects_statistics or plan.masks_statistics:
        return 0
    wanted = COARSE if plan.numeric_method == "zscore" else FINE
    numbers = sum(feature.kind == "numeric" for feature in plan.features)
    return max(COARSE // 2, min(wanted, MOST_CELLS // max(numbers, 1)))


def count_cells(values: Numbers, labels: Labels | None, *, min_cell: int, resolution: int) -> Cells:
    """Cells of the values (n,), none missing; at least ``min_cell`` of them. ``labels`` (n,) where positives are counted."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    points = grid_points(ordered)
    below = np.searchsorted(ordered, points, side="right")
    ends = _ends(below, len(values), max(min_cell, math.ceil(len(values) / resolution)), min_cell)
    upper = [float(points[i]) for i in ends]
    counts = np.diff([0, *below[ends], len(values)])
    if counts[-1] == 0:
        counts = counts[:-1]
        if below[-1] - (below[-2] if len(below) > 1 else 0) < min_cell:
            upper.pop()  # fewer than that share the largest value: the last cell stays open
    shared = np.diff(below, prepend=0)
    single = [i for i in range(len(upper)) if shared[ends[i]] == counts[i]]
    bad: list[int] = []
    if labels is not None:
        places = np.searchsorted(upper, ordered, side="left")
        bad = np.bincount(places, labels[order], minlength=len(counts)).astype(int).tolist()
    return Cells(upper=upper, customers=counts.tolist(), single=single, bad=bad)


def grid_points(ordered: Numbers) -> Numbers:
    """The numbers of four significant digits that values (n,), ascending, round up to; ascending and distinct."""
    blocks = [_grid_points(ordered[start : start + BLOCK]) for start in range(0, len(ordered), BLOCK)]
    return np.unique(np.concatenate(blocks)) if blocks else np.empty(0)


def _grid_points(ordered: Numbers) -> Numbers:
    with np.errstate(divide="ignore"):
        exponent = np.where(ordered == 0, 0, np.floor(np.log10(np.abs(ordered)))) - (DIGITS - 1)
    exponent = np.clip(exponent, -300, 300)
    step = 10.0**exponent
    places = np.rint(ordered / step)
    near = places * step
    with np.errstate(over="ignore"):
        up = np.where(near < ordered * (1 - np.sign(ordered) * 1e-12), places + 1, places) * step
    return np.unique([rounded_to_grid(value) for value in np.unique(up)])


def _ends(below: NDArray[np.int64], total: int, target: int, min_cell: int) -> list[int]:
    """Which points end a cell. ``below`` (points,): customers up to each point. Every cell, and the rest, hold ``min_cell``."""
    ends: list[int] = []
    done = 0
    while total - done >= target:
        at = int(np.searchsorted(below, done + target))
        if at == len(below):
            break
        before = int(below[at - 1]) if at else 0
        if int(below[at]) - before >= target and before > done:  # many share this value: what is left before it ends apart
            if before - done >= min_cell:
                ends.append(at - 1)
            elif ends and int(below[ends[-1]] - (below[ends[-1] - 1] if ends[-1] else 0)) < target:
                ends[-1] = at - 1
        ends.append(at)
        done = int(below[at])
    while ends and 0 < total - int(below[ends[-1]]) < min_cell:
        ends.pop()
    return ends
