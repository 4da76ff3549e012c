"""Customers by score bin, and the lowest and highest bin in which each may lie after small bins were merged.

``merge_small`` closes a group of neighbouring bins the moment it holds ``min_cell`` customers and reports it in the bin nearest
to its mean. From that rule alone the reader of a report knows how far a customer may be from where it was reported; every
bound of this package follows from it and from the width of a bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clientagent.wire.messages import SplitCounts
from clientagent.wire.metrics import Counts, from_sparse, to_sparse


@dataclass(frozen=True)
class Bounded:
    """A figure and the interval in which the one of the scores themselves lies."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """The farthest that the scores' own figure may be from ``value``."""
        return max(self.value - self.low, self.high - self.value)


@dataclass(frozen=True)
class Tally:
    """Counts (bins, 2) of good and bad customers: ``at`` as reported, ``low`` and ``high`` all as far off as they may lie.

    ``loss_sum`` is the summed log loss of these ``rows`` customers, which banks compute from the scores themselves.
    """

    at: Counts
    low: Counts
    high: Counts
    loss_sum: float

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.at + other.at, self.low + other.low, self.high + other.high, self.loss_sum + other.loss_sum)

    @property
    def bins(self) -> int:
        return len(self.at)

    @property
    def rows(self) -> int:
        return int(self.at.sum())

    @property
    def good(self) -> int:
        return int(self.at[:, 0].sum())

    @property
    def bad(self) -> int:
        return int(self.at[:, 1].sum())

    @property
    def has_both(self) -> bool:
        return bool(self.good and self.bad)

    @property
    def loss(self) -> float | None:
        return self.loss_sum / self.rows if self.rows else None

    def to_json(self) -> dict[str, Any]:
        parts = {"at": to_sparse(self.at), "low": to_sparse(self.low), "high": to_sparse(self.high)}
        return {"bins": self.bins, "loss_sum": self.loss_sum, **parts}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Tally:
        bins, loss_sum = int(document["bins"]), float(document["loss_sum"])
        at, low, high = (_dense(document[part], bins) for part in ("at", "low", "high"))
        return cls(at, low, high, loss_sum)


def empty_tally(bins: int) -> Tally:
    none = np.zeros((bins, 2), np.int64)
    return Tally(none, none, none, 0.0)


def tally_of(split: SplitCounts, bins: int, min_cell: int) -> Tally:
    """One bank's report of one split. Fewer than ``min_cell`` customers show nothing, so they weigh nothing.

    Raises ``CountsInvalid``.
    """
    at = from_sparse(split, bins)
    if not at.any():
        return empty_tally(bins)
    if min_cell <= 1:
        return Tally(at, at, at, split.loss_sum)
    place = np.flatnonzero(at.sum(axis=1))
    low, high = _spread(at[place], place, bins, min_cell - 1)
    return Tally(at, low, high, split.loss_sum)


def _spread(groups: Counts, place: Counts, bins: int, stray: int) -> tuple[Counts, Counts]:
    """Counts (bins, 2) with every group (n, 2) as low and as high as it may lie.

    All of a group lie strictly between the groups beside it. At most ``stray`` of them come from bins below the one that
    closed the group, and in the last group at most ``stray`` from above; the mean says where the closing bin may be.
    """
    rows = groups.sum(axis=1)
    lowest, highest = np.append(0, place[:-1] + 1), np.append(place[1:] - 1, bins - 1)
    above = np.append(np.zeros(len(place) - 1, np.int64), stray)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = np.floor(((place + 0.5) * rows - stray * lowest) / (rows - stray) + 1e-9)
        least = np.ceil(((place - 0.5) * rows - above * (bins - 1)) / (rows - above) - 1e-9)
    closes_at_most = np.where(rows > stray, np.clip(np.nan_to_num(most), place, highest), highest).astype(np.int64)
    closes_at_least = np.where(rows > above, np.clip(np.nan_to_num(least), lowest, place), lowest).astype(np.int64)
    closes_at_least = np.where(above > 0, closes_at_least, place)
    strayed, beyond = np.minimum(groups, stray), np.minimum(groups, above[:, None])
    low, high = np.zeros((bins, 2), np.int64), np.zeros((bins, 2), np.int64)
    np.add.at(low, lowest, strayed)
    np.add.at(low, closes_at_least, groups - strayed)
    np.add.at(high, highest, beyond)
    np.add.at(high, closes_at_most, groups - beyond)
    return low, high


def _dense(rows: list[tuple[int, int, int]], bins: int) -> Counts:
    counts = np.zeros((bins, 2), np.int64)
    for index, good, bad in rows:
        counts[index] = good, bad
    return counts
