"""How far the scores of one group of customers have moved from those of another: the population stability index."""

from __future__ import annotations

import numpy as np

from clientagent.wire.evaluation.probability import equal_groups
from clientagent.wire.metrics import Counts

STABLE, UNSTABLE = 0.1, 0.25
"""Below the first a shift is usually ignored, above the second a model is usually rebuilt (Siddiqi 2006, chapter 9)."""


def stability(expected: Counts, actual: Counts, groups: int = 10) -> float | None:
    """PSI of two counts (bins, 2): sum of (a - e) ln(a / e) over groups of equal size of ``expected``.

    A group that holds nobody counts as half a customer, so that the logarithm stays finite. None where either is empty.
    """
    was, now = expected.sum(axis=1), actual.sum(axis=1)
    if not was.any() or not now.any():
        return None
    ranges = equal_groups(was, groups)
    starts = [0, *(start for start, _ in ranges[1:])]
    e = np.maximum(np.add.reduceat(was, starts), 0.5)
    a = np.maximum(np.add.reduceat(now, starts), 0.5)
    e, a = e / e.sum(), a / a.sum()
    return float(np.sum((a - e) * np.log(a / e)))
