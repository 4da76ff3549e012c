"""Curves over all cuts, as points to draw: one for each cut at which something changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.evaluation.ranking import at_least
from clientagent.wire.evaluation.tally import Tally
from clientagent.wire.metrics import LIMIT

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Points (n,) and the cut of each, from the highest cut (nobody is flagged) to the lowest (all are)."""

    x: Numbers
    y: Numbers
    cuts: NDArray[np.int64]


def roc_curve(tally: Tally) -> Curve | None:
    """Share of good customers flagged (x) against share of bad ones found (y)."""
    if not tally.has_both:
        return None
    cuts, good, bad = _points(tally)
    return Curve(good / tally.good, bad / tally.bad, cuts)


def pr_curve(tally: Tally) -> Curve | None:
    """Recall (x) against precision (y); the first point repeats the first precision at recall 0."""
    if not tally.has_both:
        return None
    cuts, good, bad = _points(tally)
    precision = bad[1:] / (good[1:] + bad[1:])
    return Curve(bad / tally.bad, np.append(precision[0], precision), cuts)


def gain_curve(tally: Tally) -> Curve | None:
    """Share of all customers looked at (x) against share of bad ones found (y). Lift at x is y / x."""
    if not tally.has_both:
        return None
    cuts, good, bad = _points(tally)
    return Curve((good + bad) / tally.rows, bad / tally.bad, cuts)


def cumulative(tally: Tally) -> tuple[Curve, Curve] | None:
    """Share of good and of bad customers below each cut; x is the cut's log-odds. Their largest gap is KS."""
    if not tally.has_both:
        return None
    cuts, good, bad = _points(tally)
    x = np.asarray(cuts * (2 * LIMIT / tally.bins) - LIMIT, np.float64)
    return Curve(x, 1 - good / tally.good, cuts), Curve(x, 1 - bad / tally.bad, cuts)


def _points(tally: Tally) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cuts, highest first, with how many good and bad customers are flagged at each."""
    held = np.flatnonzero(tally.at.sum(axis=1))[::-1]
    cuts = np.append(held[0] + 1, held)
    return cuts, at_least(tally.at[:, 0])[cuts], at_least(tally.at[:, 1])[cuts]
