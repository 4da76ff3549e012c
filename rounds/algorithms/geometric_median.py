"""Geometric median: the point with the least sum of distances to the updates (RFA, Pillutla et al. 2022, algorithm 2).

The point is always an average of the updates, so its distances to them follow from their distances to each other. One look at the
updates is enough, and as many Weiszfeld steps as are wanted cost nothing.
"""

from __future__ import annotations

import numpy as np

from rounds.algorithms.gram import combination, distances, within_reach
from rounds.algorithms.strategy import Averaged, Facts, Passes, Strategy, Wide, _

STEPS = 200
"""More than is ever needed; each costs banks^2 operations."""
TINY = 1e-150
SMOOTHING = 1e-6
"""The smallest distance that counts (the paper's nu), as a share of the typical distance between two updates."""


def begin(facts: Facts, passes: Passes) -> Averaged:
    factors, products = within_reach(passes.gram(), facts.banks)
    return Averaged(weiszfeld(distances(products)) * factors)


def weiszfeld(squared: Wide) -> Wide:
    """Coefficients (banks,) of the smoothed geometric median from squared distances (banks, banks), all banks alike."""
    banks = len(squared)
    coefficients = np.full(banks, 1 / banks)
    smallest = SMOOTHING * np.sqrt(np.median(squared[~np.eye(banks, dtype=bool)])) if banks > 1 else 0.0
    for _step in range(STEPS):
        nearness = 1 / np.maximum(np.sqrt(from_average(squared, coefficients)), max(smallest, TINY))
        coefficients = nearness / np.add.reduce(nearness)
    return coefficients


def from_average(squared: Wide, coefficients: Wide) -> Wide:
    """Squared distances (banks,) of the updates from sum_k c_k x_k, where the c_k sum to 1."""
    toward = combination(coefficients, squared)
    return np.maximum(toward - np.add.reduce(coefficients * toward) / 2, 0)


STRATEGY = Strategy(
    name="geometric_median", title="Geometric median (RFA)", begin=begin, paper="Pillutla et al. 2022, arXiv:1912.13445",
    choose_when=_("The robust rule for five to nine banks: no update is thrown away, far ones only lose their pull."),
)
