"""Centred clipping: every update is cut to a ball around the last round's result (Karimireddy et al. 2021, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rounds.algorithms.geometric_median import from_average
from rounds.algorithms.gram import distances, within_reach
from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, Wide, _, weighted_sum

STEPS = 5


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """v_0 is the last round's difference, zero at first; the result is the next v_0."""
    factors, products = within_reach(passes.gram(beside="centre"), facts.banks)
    coefficients = clipped(distances(products), facts.strategy.bound) * factors
    own, rest = coefficients[:-1], coefficients[-1]

    def step(piece: Piece) -> Step:
        difference = weighted_sum(piece.updates, own) + rest * piece.state["centre"]
        return Step(difference, {"centre": difference})

    return step


def clipped(squared: Wide, radius: float | None) -> Wide:
    """Coefficients (banks + 1,) of the updates and the centre, from squared distances (banks + 1, banks + 1), the centre last.

    v <- v + 1/n sum_i (x_i - v) min(1, radius / |x_i - v|). Where the plan leaves the radius open it is the median distance,
    which fewer than half of the banks cannot move far.
    """
    banks = len(squared) - 1
    coefficients = np.zeros(banks + 1)
    coefficients[-1] = 1.0
    for _step in range(STEPS):
        lengths = np.sqrt(from_average(squared, coefficients)[:-1])
        limit = float(np.median(lengths)) if radius is None else radius
        kept = np.divide(limit, lengths, out=np.ones(banks), where=lengths > limit)
        coefficients *= 1 - np.add.reduce(kept) / banks
        coefficients[:-1] += kept / banks
    return coefficients


STRATEGY = Strategy(
    name="centred_clipping", title="Centred clipping", begin=begin, paper="Karimireddy et al. 2021, arXiv:2012.10333",
    choose_when=_("When an attacker may act a little in every round: a bank can turn the model only so far from its course."),
)
