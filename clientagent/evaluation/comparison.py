"""Models compared on the same customers: AUCs, and their difference, with intervals. Pure numpy.

DeLong, DeLong & Clarke-Pearson 1988; computed by mid-ranks as in Sun & Xu 2014, algorithm 2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.messages import Estimate

Scores = NDArray[np.float64]
Z = 1.959964
LEAST = 2
"""Customers of each class below which no interval can be told."""


def placements(scores: Scores, labels: NDArray[np.int8]) -> tuple[Scores, Scores]:
    """For each bad customer the share of good ones below it, for each good one the share of bad ones above; ties at half."""
    bad, good = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    below = (np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")) / (2 * len(good))
    above = 1 - (np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")) / (2 * len(bad))
    # in the customers' own order, so that two models' placements belong together
    order = np.empty(len(bad), np.int64), np.empty(len(good), np.int64)
    for which, side in ((1, 0), (0, 1)):
        ranks = np.argsort(scores[labels == which], kind="stable")
        order[side][ranks] = np.arange(len(ranks))
    return below[order[0]], above[order[1]]


def auc_estimate(scores: Scores, labels: NDArray[np.int8]) -> Estimate | None:
    """AUC with its 95 % interval on the logit scale; None with fewer than two customers of a class."""
    if not _enough(labels):
        return None
    below, above = placements(scores, labels)
    value = float(below.mean())
    spread = math.sqrt(_variance(below, above))
    if not 0 < value < 1 or spread == 0:
        return Estimate(value=value, low=value, high=value)
    centre, step = math.log(value / (1 - value)), Z * spread / (value * (1 - value))
    return Estimate(value=value, low=1 / (1 + math.exp(step - centre)), high=1 / (1 + math.exp(-step - centre)))


def auc_gain(scores: Scores, than: Scores, labels: NDArray[np.int8]) -> Estimate | None:
    """AUC of ``scores`` minus that of ``than`` on the same customers, with its 95 % interval (paired)."""
    if not _enough(labels):
        return None
    ours, theirs = placements(scores, labels), placements(than, labels)
    below, above = ours[0] - theirs[0], ours[1] - theirs[1]
    value, half = float(below.mean()), Z * math.sqrt(_variance(below, above))
    return Estimate(value=_within(value), low=_within(value - half), high=_within(value + half))


def _variance(below: Scores, above: Scores) -> float:
    return float(below.var(ddof=1)) / len(below) + float(above.var(ddof=1)) / len(above)


def _within(value: float) -> float:
    return min(max(value, -1.0), 1.0)


def _enough(labels: NDArray[np.int8]) -> bool:
    bad = int(np.count_nonzero(labels == 1))
    return bad >= LEAST and len(labels) - bad >= LEAST
