"""Nearest-neighbour mixing: before a robust rule, each update becomes the mean of the n - f nearest (Allouah et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rounds.algorithms.gram import combination, distances
from rounds.algorithms.strategy import Averaged, Begin, Facts, Passes, Piece, Step, Wide, weighted_sum


def begin_mixed(begin: Begin, facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """The rule's own beginning, or that of the mixed updates where the plan says ``mixing: nearest``."""
    if facts.strategy.mixing == "none":
        return begin(facts, passes)
    products = passes.gram()
    mixture = nearest(distances(products), facts.strategy.byzantine)
    step = begin(facts, MixedPasses(passes, mixture))
    if isinstance(step, Averaged):
        return Averaged(combination(step.coefficients, mixture))

    def mixed(piece: Piece) -> Step:
        block = np.stack([weighted_sum(piece.updates, row).astype(np.float32) for row in mixture])
        return step(Piece(block, piece.extra, piece.state))

    return mixed


def nearest(squared: Wide, byzantine: int) -> Wide:
    """(banks, banks): row i averages the banks - byzantine updates nearest to i, itself first; ties by the manifest's order."""
    banks = len(squared)
    kept = max(1, banks - byzantine)
    mixture = np.zeros((banks, banks))
    for i, row in enumerate(squared):
        order = np.argsort(np.where(np.arange(banks) == i, -1.0, row), kind="stable")
        mixture[i, order[:kept]] = 1 / kept
    return mixture


@dataclass(frozen=True)
class MixedPasses:
    """What a pass over the mixed updates would see, from one over the updates themselves."""

    passes: Passes
    mixture: Wide

    def squares(self) -> Wide:
        return np.diagonal(self.gram()).copy()

    def gram(self, *, beside: str | None = None) -> Wide:
        products = self.passes.gram(beside=beside)
        banks, rows = len(self.mixture), len(products)
        mixture = np.eye(rows)
        mixture[:banks, :banks] = self.mixture
        half = np.stack([combination(row, products) for row in mixture])
        return np.stack([combination(row, half.T) for row in mixture])

