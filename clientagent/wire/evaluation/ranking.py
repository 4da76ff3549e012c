"""How well scores put bad customers above good ones: AUC, average precision, KS with its cut; with bounds and an interval.

A figure of ranking only grows when a bad customer moves up or a good one down. So it is highest with all bad customers as high
and all good ones as low as they may lie, ties for the bad, and lowest the other way round: that is the bound.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.evaluation.tally import Bounded, Tally
from clientagent.wire.metrics import Counts, auc

Numbers = NDArray[np.float64]


def at_least(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Customers (bins + 1,) in bin i and above; the last is none."""
    return np.append(counts[::-1].cumsum()[::-1], 0)


def bounded_auc(tally: Tally) -> Bounded | None:
    """AUC (Hanley & McNeil 1982) of the bins and the bounds of the scores' own; None with one class."""
    value = auc(tally.at)
    if value is None:
        return None
    pairs = float(tally.good) * tally.bad
    high = float(np.sum(tally.high[:, 1] * tally.low[:, 0].cumsum().astype(np.float64))) / pairs
    low = float(np.sum(tally.low[:, 1] * (tally.high[:, 0].cumsum() - tally.high[:, 0]).astype(np.float64))) / pairs
    return Bounded(value, low, min(high, 1.0))


def average_precision(tally: Tally) -> Bounded | None:
    """Sum of precision times the step of recall, ties in one step (as scikit-learn's); None without bad customers."""
    if not tally.bad:
        return None
    bad, good = at_least(tally.at[:, 1]), at_least(tally.at[:, 0])
    held = np.flatnonzero(tally.at[:, 1])
    value = float(np.sum(tally.at[held, 1] * (bad[held] / (bad[held] + good[held])))) / tally.bad
    low_bad, high_bad = at_least(tally.low[:, 1]), at_least(tally.high[:, 1])
    k = np.arange(1, tally.bad + 1)
    lowest, highest = _bin_of_kth(low_bad, k), _bin_of_kth(high_bad, k)
    low = np.mean(k / (k + at_least(tally.high[:, 0])[lowest]))
    # ties count with the precision at their end: at best that of the best bin down to the lowest in which the k-th may tie
    reached = high_bad[:-1] / np.maximum(high_bad[:-1] + at_least(tally.low[:, 0])[1:], 1)
    high = np.mean(_most_within(reached, lowest, highest))
    return Bounded(value, float(low), float(high))


def _bin_of_kth(bad: NDArray[np.int64], k: NDArray[np.int64]) -> NDArray[np.int64]:
    """The highest bin with at least k bad customers in and above it."""
    return np.searchsorted(-bad, -k, side="right") - 1


def _most_within(values: Numbers, first: NDArray[np.int64], last: NDArray[np.int64]) -> Numbers:
    """The largest of ``values[first..last]`` for each pair, by a table of the largest of 1, 2, 4, ... neighbours."""
    levels = [values]
    while len(levels[-1]) > 1 << len(levels) - 1:
        step = 1 << len(levels) - 1
        levels.append(np.maximum(levels[-1][:-step], levels[-1][step:]))
    level = np.log2(last - first + 1).astype(np.int64)
    found = np.empty(len(first))
    for n in np.unique(level):
        at = level == n
        found[at] = np.maximum(levels[n][first[at]], levels[n][last[at] - (1 << int(n)) + 1])
    return found


def ks_cut(tally: Tally) -> tuple[Bounded, int] | None:
    """The largest gap between the shares of bad and of good customers at or above a cut, and that cut (a bin's lower edge)."""
    if not tally.has_both:
        return None
    good, bad = at_least(tally.at[:, 0]) / tally.good, at_least(tally.at[:, 1]) / tally.bad
    gap = np.abs(bad - good)
    cut = int(np.argmax(gap))
    most = {(side, way): at_least(counts[:, side]) / total
            for side, total in ((0, tally.good), (1, tally.bad)) for way, counts in (("low", tally.low), ("high", tally.high))}
    # a cut within bin i takes at least what lies above the bin and at most what lies in it and above
    high = max(np.max(most[1, "high"][:-1] - most[0, "low"][1:]), np.max(most[0, "high"][:-1] - most[1, "low"][1:]))
    low = max(np.max(most[1, "low"] - most[0, "high"]), np.max(most[0, "low"] - most[1, "high"]), 0.0)
    return Bounded(float(gap[cut]), float(low), min(float(high), 1.0)), cut


def auc_interval(counts: Counts, level: float = 0.95) -> tuple[float, float] | None:
    """Confidence interval of the AUC for other customers of the same kind (DeLong, DeLong & Clarke-Pearson 1988, eq. 4 and 5).

    On the logit scale, which keeps it within 0 and 1 (Pepe 2003, section 5.2.5). None where a class has fewer than two customers.
    """
    value = auc(counts)
    good, bad = counts[:, 0].astype(np.float64), counts[:, 1].astype(np.float64)
    if value is None or good.sum() < 2 or bad.sum() < 2:
        return None
    below = (np.cumsum(good) - good + good / 2) / good.sum()  # the share of good customers that a bad one of this bin beats
    above = (bad.sum() - np.cumsum(bad) + bad / 2) / bad.sum()
    variance = _spread(below, bad, value) / bad.sum() + _spread(above, good, value) / good.sum()
    if value in (0.0, 1.0):
        return None  # no spread is seen, so none can be told
    step = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance) / (value * (1 - value))
    centre = math.log(value / (1 - value))
    return 1 / (1 + math.exp(step - centre)), 1 / (1 + math.exp(-step - centre))


def _spread(values: Numbers, weights: Numbers, mean: float) -> float:
    return float(np.sum(weights * (values - mean) ** 2) / (weights.sum() - 1))
