"""Coordinate-wise median: for each weight the middle of the banks' values (Yin et al. 2018, definition 1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rounds.algorithms.networks import order_statistics
from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, _


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    return median


def median(piece: Piece) -> Step:
    """The middle value of each column, or the mean of the two middle ones where the banks are even in number."""
    banks = len(piece.updates)
    middle = order_statistics(piece.updates, range((banks - 1) // 2, banks // 2 + 1))
    low, high = middle[0].astype(np.float64), middle[-1].astype(np.float64)
    return Step((low + high) / 2)


STRATEGY = Strategy(
    name="median", title="Median", begin=begin, paper="Yin et al. 2018, arXiv:1803.01498",
    choose_when=_("When a few banks may send wrong or hostile updates: the plainest robust rule. Each bank has one voice."),
)
