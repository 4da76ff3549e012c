"""From counts of good and bad customers per score bin to AUC, KS, Gini and loss. No customer's score is needed.

Bins are equal steps of the log-odds from -10 to 10 (everything beyond falls into the first or last bin), because fraud
and default scores crowd near zero, where equal steps of probability would tie most customers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clientagent.wire.errors import CountsInvalid
from clientagent.wire.messages import SplitCounts

LIMIT = 10.0
Counts = NDArray[np.int64]


def bin_of(logits: ArrayLike, bins: int) -> NDArray[np.int64]:
    """The bin (n,) in 0..bins-1 of each logit (n,); NaN falls into the first."""
    bounded = np.clip(np.nan_to_num(np.asarray(logits, np.float64), nan=-LIMIT), -LIMIT, LIMIT)
    return np.minimum(np.floor((bounded + LIMIT) * (bins / (2 * LIMIT))), bins - 1).astype(np.int64)


def bin_probability(bins: int) -> NDArray[np.float64]:
    """The probability (bins,) at the middle of each bin."""
    logits = (np.arange(bins) + 0.5) * (2 * LIMIT / bins) - LIMIT
    return 1 / (1 + np.exp(-logits))


def count(logits: ArrayLike, labels: ArrayLike, bins: int) -> Counts:
    """Counts (bins, 2) of good (label 0) and bad (label 1) customers."""
    index = bin_of(logits, bins) * 2 + np.asarray(labels, np.int64)
    return np.bincount(index, minlength=2 * bins).reshape(bins, 2)


def merge_small(counts: Counts, min_cell: int) -> Counts:
    """Merge neighbouring bins until each that holds anybody holds at least ``min_cell`` customers.

    A merged group is reported in the bin nearest to its customers' mean bin, so totals stay and order stays. Fewer than
    ``min_cell`` customers in all are not reported: the result is zero.
    """
    merged = np.zeros_like(counts)
    held = np.flatnonzero(counts.sum(axis=1))
    groups: list[list[int]] = [[]]
    for i in held:
        groups[-1].append(int(i))
        if counts[groups[-1]].sum() >= min_cell:
            groups.append([])
    rest = groups.pop()
    if rest and groups:
        groups[-1] += rest
    for group in groups:
        sizes = counts[group].sum(axis=1)
        merged[round(float(np.average(group, weights=sizes)))] += counts[group].sum(axis=0)
    return merged


def to_sparse(counts: Counts) -> list[tuple[int, int, int]]:
    return [(int(i), int(counts[i, 0]), int(counts[i, 1])) for i in np.flatnonzero(counts.sum(axis=1))]


def from_sparse(split: SplitCounts, bins: int) -> Counts:
    """Dense counts (bins, 2) of a bank's report. Raises ``CountsInvalid``."""
    counts = np.zeros((bins, 2), np.int64)
    previous = -1
    for index, good, bad in split.bins:
        if not previous < index < bins:
            raise CountsInvalid(expected=f"ascending bins below {bins}", got=f"bin {index} after {previous}")
        counts[index] = good, bad
        previous = index
    total = int(counts.sum())
    if total not in (0, split.rows):
        raise CountsInvalid(expected=f"{split.rows} customers", got=f"{total}")
    return counts


@dataclass(frozen=True)
class Metrics:
    """Of one score on one set of customers. ``auc`` and ``ks`` are None where only one class is present."""

    rows: int
    positives: int
    auc: float | None
    ks: float | None
    loss: float | None

    @property
    def gini(self) -> float | None:
        return None if self.auc is None else 2 * self.auc - 1


def auc(counts: Counts) -> float | None:
    """Area under the ROC curve: P(bad scores above good) + P(tie) / 2 (Hanley & McNeil 1982), ties within bins."""
    good, bad = counts[:, 0].astype(np.float64), counts[:, 1].astype(np.float64)
    if not good.sum() or not bad.sum():
        return None
    below = np.cumsum(good) - good
    return float(np.sum(bad * (below + good / 2)) / (good.sum() * bad.sum()))


def ks(counts: Counts) -> float | None:
    """Kolmogorov-Smirnov distance: the largest gap between the two cumulative score distributions."""
    totals = counts.sum(axis=0)
    if not totals.all():
        return None
    cumulative = np.cumsum(counts, axis=0) / totals
    return float(np.max(np.abs(cumulative[:, 0] - cumulative[:, 1])))


def metrics_of(counts: Counts, loss_sum: float, rows: int) -> Metrics:
    """Metrics of summed counts (bins, 2); ``loss_sum`` is the summed log loss of ``rows`` customers."""
    return Metrics(rows, int(counts[:, 1].sum()), auc(counts), ks(counts), loss_sum / rows if rows else None)
