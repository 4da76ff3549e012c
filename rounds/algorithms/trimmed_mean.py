"""Coordinate-wise trimmed mean: the mean without the smallest and largest values (Yin et al. 2018, definition 2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rounds.algorithms.networks import without_extremes
from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, _, weighted_sum


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """Cuts floor(trim n) values at each end; where the plan leaves ``trim`` open, as many as banks are assumed hostile."""
    trim = facts.strategy.trim
    wanted = facts.strategy.byzantine if trim is None else math.floor(trim * facts.banks)
    cut = min(wanted, (facts.banks - 1) // 2)
    alike = np.full(facts.banks - 2 * cut, 1 / (facts.banks - 2 * cut))

    def trimmed(piece: Piece) -> Step:
        return Step(weighted_sum(np.stack(without_extremes(piece.updates, cut)), alike))

    return trimmed


STRATEGY = Strategy(
    name="trimmed_mean", title="Trimmed mean", begin=begin, paper="Yin et al. 2018, arXiv:1803.01498",
    choose_when=_("Like the median, but closer to the mean when nobody cheats. The better robust rule from about ten banks on."),
)
