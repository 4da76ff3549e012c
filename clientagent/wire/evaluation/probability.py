"""Whether a score means the probability that it says: Brier score and calibration by groups of equal size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.evaluation.tally import Bounded, Tally
from clientagent.wire.metrics import LIMIT, bin_probability

Numbers = NDArray[np.float64]


def bin_edges(bins: int) -> tuple[Numbers, Numbers]:
    """The lowest and highest probability (bins,) that a customer of each bin may have; the end bins reach to 0 and 1."""
    edges = 1 / (1 + np.exp(LIMIT - np.arange(bins + 1) * (2 * LIMIT / bins)))
    edges[0], edges[-1] = 0.0, 1.0
    return edges[:-1], edges[1:]


def brier(tally: Tally) -> Bounded | None:
    """Mean of (probability - outcome) squared (Brier 1950); None without customers."""
    if not tally.rows:
        return None
    middle = bin_probability(tally.bins)
    lowest, highest = bin_edges(tally.bins)
    best = np.sum(tally.low[:, 0] * lowest**2) + np.sum(tally.high[:, 1] * (1 - highest) ** 2)
    worst = np.sum(tally.high[:, 0] * highest**2) + np.sum(tally.low[:, 1] * (1 - lowest) ** 2)
    value = np.sum(tally.at[:, 0] * middle**2) + np.sum(tally.at[:, 1] * (1 - middle) ** 2)
    return Bounded(float(value) / tally.rows, float(best) / tally.rows, float(worst) / tally.rows)


@dataclass(frozen=True)
class Calibration:
    """One group of customers with neighbouring scores: what was predicted, and what came with its 95 % interval (Wilson 1927)."""

    rows: int
    bad: int
    predicted: float
    observed: float
    low: float
    high: float


def calibration(tally: Tally, groups: int = 10) -> list[Calibration]:
    """Up to ``groups`` groups of about equal size, by ascending score; no bin is cut in two."""
    middle = bin_probability(tally.bins)
    found = []
    for start, end in equal_groups(tally.at.sum(axis=1), groups):
        part = tally.at[start:end]
        rows, bad = int(part.sum()), int(part[:, 1].sum())
        predicted = float(np.sum(part.sum(axis=1) * middle[start:end])) / rows
        low, high = wilson(bad, rows)
        found.append(Calibration(rows, bad, predicted, bad / rows, low, high))
    return found


def expected_calibration_error(groups: list[Calibration]) -> float | None:
    """The mean distance of predicted and observed over the groups, weighted by their size (Naeini et al. 2015)."""
    rows = sum(group.rows for group in groups)
    return sum(group.rows * abs(group.predicted - group.observed) for group in groups) / rows if rows else None


def equal_groups(rows: NDArray[np.int64], groups: int) -> list[tuple[int, int]]:
    """Ranges [start, end) of bins that hold about equally many customers and at least one."""
    total = int(rows.sum())
    if not total:
        return []
    before = rows.cumsum() - rows
    of_bin = np.minimum((before + rows / 2) * groups / total, groups - 1).astype(np.int64)
    held = np.flatnonzero(rows)
    starts = held[np.flatnonzero(np.diff(of_bin[held], prepend=-1))]
    ends = np.append(starts[1:], len(rows))
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def wilson(hits: int, rows: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not rows:
        return 0.0, 1.0
    share = hits / rows
    centre, spread = share + z * z / (2 * rows), z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    scale = 1 + z * z / rows
    return (centre - spread) / scale if hits else 0.0, (centre + spread) / scale if hits < rows else 1.0
