"""Made-up customers for a plan's features, as its model would see them: z-scores and one input for each category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.preparation.preprocess import Inputs
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array

MOST_FEATURES, MOST_CATEGORIES, UNLISTED = 40, 20, 4
"""Bounds that keep the test short; and the categories that a feature is given where the plan lists none."""
POSITIVES, STEEPNESS, CUT = 0.25, 1.5, 8.0


@dataclass(frozen=True)
class Population:
    """Who might be a customer: inputs (rows, ``inputs``) of correlated numbers and categories, and labels that follow from them.

    ``widths``: of each feature, 1 for a number. ``loadings`` (inputs,): how much a number follows the common factor.
    """

    widths: tuple[int, ...]
    shares: tuple[NDArray[np.float64], ...]
    loadings: Array
    slopes: Array

    @property
    def inputs(self) -> int:
        return sum(self.widths)

    def draw(self, rows: int, rng: np.random.Generator) -> Inputs:
        """Customers and how they ended; a quarter of them badly, on average."""
        factor = rng.normal(size=rows)
        parts = []
        for i, width in enumerate(self.widths):
            if width == 1:
                own = rng.normal(size=rows)
                z = self.loadings[i] * factor + np.sqrt(1 - self.loadings[i] ** 2) * own
                parts.append(np.clip(z, -CUT, CUT)[:, None])
            else:
                parts.append(np.eye(width)[rng.choice(width, rows, p=self.shares[i])])
        matrix = np.concatenate(parts, axis=1).astype(np.float32)
        logits = STEEPNESS * (matrix @ self.slopes) + np.log(POSITIVES / (1 - POSITIVES))
        labels = rng.random(rows) < 1 / (1 + np.exp(-logits))
        return Inputs(matrix, labels.astype(np.int8))


def population_of(plan: Plan, rng: np.random.Generator) -> Population:
    """One population for a plan's features, at most ``MOST_FEATURES`` of them."""
    features = plan.features[:MOST_FEATURES]
    widths = tuple(
        1 if feature.kind == "numeric" else min(max(len(feature.categories or ()) or UNLISTED, 2), MOST_CATEGORIES)
        for feature in features
    )
    shares = tuple(rng.dirichlet(np.full(width, 2.0)) for width in widths)
    slopes = rng.normal(size=sum(widths))
    return Population(
        widths, shares, rng.uniform(0.0, 0.7, len(widths)).astype(np.float32),
        (slopes / np.linalg.norm(slopes)).astype(np.float32),
    )
