"""Krum: the one update that lies nearest to most others (Blanchard et al. 2017, section 4)."""

from __future__ import annotations

import numpy as np

from rounds.algorithms.gram import distances
from rounds.algorithms.strategy import Averaged, Facts, Passes, Strategy, Wide, _


def begin(facts: Facts, passes: Passes) -> Averaged:
    return Averaged(chosen_alike(scores(distances(passes.gram()), facts.strategy.byzantine), 1))


def scores(squared: Wide, byzantine: int) -> Wide:
    """(banks,): for each update the sum of its n - f - 2 smallest squared distances to others; ``squared`` is (banks, banks)."""
    banks = len(squared)
    nearest = max(1, banks - byzantine - 2)
    return np.array([np.add.reduce(np.sort(np.delete(row, i))[:nearest]) for i, row in enumerate(squared)])


def chosen_alike(values: Wide, count: int) -> Wide:
    """1/count for the ``count`` smallest values, 0 for the others; ties go by the manifest's order."""
    coefficients = np.zeros(len(values))
    coefficients[np.argsort(values, kind="stable")[:count]] = 1 / count
    return coefficients


STRATEGY = Strategy(
    name="krum", title="Krum", begin=begin, paper="Blanchard et al. 2017, arXiv:1703.02757",
    choose_when=_("When one trustworthy update matters more than using all: keeps one bank's update each round, so learns less."),
)
