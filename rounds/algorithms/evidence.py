"""Weight of evidence and information value from counts of good and bad customers (Siddiqi 2006, chapter 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clientagent.wire.messages import Evidence
from rounds.algorithms.cells import Counts, Floats

SMOOTHING = 10.0
"""So many customers with the overall share of bads are added to every bin: an empty one weighs nothing, a small one little."""


def weights_of_evidence(good: Counts, bad: Counts) -> Floats:
    """ln(share of goods / share of bads) (bins,), smoothed; above 0 where customers are better than all together.

    Both classes must be there.
    """
    goods, bads = np.float64(good.sum()), np.float64(bad.sum())
    more_good = SMOOTHING * goods / (goods + bads)
    more_bad = SMOOTHING * bads / (goods + bads)
    weights: Floats = np.log((good + more_good) / (goods + more_good)) - np.log((bad + more_bad) / (bads + more_bad))
    return weights


def information_value(good: Counts, bad: Counts) -> float:
    """Sum over bins of (share of goods - share of bads) * weight; smoothing keeps signs, so it is never below 0."""
    return max(0.0, float(np.sum((good / good.sum() - bad / bad.sum()) * weights_of_evidence(good, bad))))


def evidence_of(good: Counts, bad: Counts) -> tuple[list[Evidence], float]:
    """Each bin's evidence as it is published, and the information value, to nine digits."""
    weights = weights_of_evidence(good, bad)
    rows: Sequence[tuple[int, int, float]] = list(zip(good.tolist(), bad.tolist(), weights.tolist(), strict=True))
    listed = [Evidence(good=g, bad=b, woe=_short(w) if g + b else 0.0) for g, b, w in rows]
    return listed, _short(information_value(good, bad))


def _short(value: float) -> float:
    return float(f"{value:.9g}")
