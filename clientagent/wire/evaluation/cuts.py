"""Cuts: from which score on a case is looked at, what that finds and what it costs.

A cut is a whole number from 0 (all are flagged) to ``bins`` (nobody is): the lower edge of the lowest flagged bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clientagent.wire.evaluation.ranking import at_least
from clientagent.wire.evaluation.tally import Bounded, Tally
from clientagent.wire.metrics import LIMIT, Counts


def logit_of(cut: int, bins: int) -> float:
    """The log-odds at a cut; the two ends have no limit."""
    return -math.inf if cut <= 0 else math.inf if cut >= bins else cut * (2 * LIMIT / bins) - LIMIT


def probability_of(cut: int, bins: int) -> float:
    """The probability from which on a customer is flagged."""
    logit = logit_of(cut, bins)
    return 0.0 if logit == -math.inf else 1.0 if logit == math.inf else 1 / (1 + math.exp(-logit))


def cut_of(probability: float, bins: int) -> int:
    """The cut nearest to a probability in 0..1."""
    if not 0 < probability < 1:
        return 0 if probability <= 0 else bins
    logit = math.log(probability / (1 - probability))
    return min(max(round((logit + LIMIT) * bins / (2 * LIMIT)), 0), bins)


@dataclass(frozen=True)
class Confusion:
    """Customers at a cut: bad and good ones that are flagged, and that are not."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def rows(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    @property
    def flagged(self) -> int:
        return self.true_positives + self.false_positives

    @property
    def flagged_share(self) -> float | None:
        return _share(self.flagged, self.rows)

    @property
    def recall(self) -> float | None:
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> float | None:
        return _share(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def precision(self) -> float | None:
        return _share(self.true_positives, self.flagged)

    @property
    def accuracy(self) -> float | None:
        return _share(self.true_positives + self.true_negatives, self.rows)

    @property
    def lift(self) -> float | None:
        """How much denser bad customers are among the flagged than among all."""
        base = _share(self.true_positives + self.false_negatives, self.rows)
        return self.precision / base if self.precision is not None and base else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def confusion(counts: Counts, cut: int) -> Confusion:
    """Of counts (bins, 2) at a cut."""
    flagged, passed = counts[cut:].sum(axis=0), counts[:cut].sum(axis=0)
    return Confusion(int(flagged[1]), int(flagged[0]), int(passed[1]), int(passed[0]))


def cut_for_budget(counts: Counts, budget: float) -> int:
    """The lowest cut that flags at most this share of all customers."""
    flagged = at_least(counts.sum(axis=1))
    return int(np.argmax(flagged <= budget * flagged[0] + 1e-9))


def recall_at_budget(tally: Tally, budget: float) -> Bounded | None:
    """The share of bad customers among those found when the ``budget`` share with the highest scores is looked at.

    Where the budget ends within a bin, its customers are taken as they come. None without bad customers.
    """
    if not tally.bad:
        return None
    looked = budget * tally.rows
    bad, good = at_least(tally.at[:, 1]), at_least(tally.at[:, 0])
    value = float(np.interp(looked, (bad + good)[::-1], bad[::-1]))
    high_bad, low_good = at_least(tally.high[:, 1]), at_least(tally.low[:, 0])
    low_bad, high_good = at_least(tally.low[:, 1]), at_least(tally.high[:, 0])
    high = float(np.max(np.minimum(high_bad[:-1], np.maximum(looked - low_good[1:], 0))))
    low = float(np.max(np.minimum(low_bad[:-1], np.maximum(looked - high_good[:-1], 0))))
    return Bounded(value / tally.bad, low / tally.bad, high / tally.bad)


def recall_at_fpr(tally: Tally, rate: float) -> Bounded | None:
    """The share of bad customers found when this share of the good ones is flagged: a point of the ROC curve. None with one class."""
    if not tally.has_both:
        return None
    allowed = rate * tally.good + 1e-9
    bad, good = at_least(tally.at[:, 1]), at_least(tally.at[:, 0])
    value = float(np.interp(allowed, good[::-1], bad[::-1]))  # where the curve climbs straight up, its upper end
    high = float(np.max(at_least(tally.high[:, 1])[:-1][at_least(tally.low[:, 0])[1:] <= allowed], initial=0))
    least = at_least(tally.low[:, 1])
    reached = at_least(tally.high[:, 0]) + 2e-9 >= allowed
    low = float(np.min(least[1:][reached[:-1]], initial=tally.bad))
    return Bounded(value / tally.bad, low / tally.bad, max(high, value) / tally.bad)
