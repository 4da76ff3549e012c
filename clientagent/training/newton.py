"""What a bank sends for second-order training: gradient and Hessian of the logistic loss over its training rows. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import NotFinite
from clientagent.wire.strategies import Vectors
from clientagent.wire.tensors import Array

Wide = NDArray[np.float64]
BLOCK_ROWS = 4096
MOST_STEPS, SHORTEST, DECREMENT = 50, 1e-4, 1e-9


@dataclass(frozen=True)
class LogisticSums:
    """Over rows: ``loss``, ``gradient`` (weights,), ``hessian`` (weights, weights); the bias comes first, as in the layout."""

    rows: int
    loss: float
    gradient: Wide
    hessian: Wide

    @property
    def mean_loss(self) -> float | None:
        return self.loss / self.rows if self.rows else None

    @property
    def vectors(self) -> Vectors:
        """As they travel: float32, of the Hessian the upper triangle by rows."""
        upper = self.hessian[np.triu_indices(len(self.gradient))]
        return {"gradient": self.gradient.astype(np.float32), "hessian": upper.astype(np.float32)}


def logistic_sums(
    weights: Array, matrix: Array, labels: NDArray[np.integer], *, good_weight: float = 1.0, bad_weight: float = 1.0
) -> LogisticSums:
    """Sums at ``weights`` (1 + inputs,), bias first, over rows ``matrix`` (rows, inputs) with labels 0 or 1 (rows,).

    Block by block: products of a block in float32, sums over blocks in float64. Raises ``NotFinite``.
    """
    size = matrix.shape[1] + 1
    bias, slopes = float(weights[0]), weights[1:]
    loss, gradient, hessian = 0.0, np.zeros(size), np.zeros((size, size))
    for start in range(0, len(matrix), BLOCK_ROWS):
        rows = matrix[start : start + BLOCK_ROWS]
        truth = labels[start : start + BLOCK_ROWS].astype(np.float64)
        counts = np.where(truth > 0, bad_weight, good_weight)
        logits = (rows @ slopes).astype(np.float64) + bias
        small = np.exp(-np.abs(logits))
        chance = np.where(logits >= 0, 1, small) / (1 + small)
        loss += float(np.sum(counts * (np.maximum(logits, 0) - truth * logits + np.log1p(small))))
        slope = counts * (chance - truth)
        curve = counts * (small / (1 + small) ** 2)
        gradient[0] += float(np.sum(slope))
        gradient[1:] += slope.astype(np.float32) @ rows
        hessian[0, 0] += float(np.sum(curve))
        hessian[0, 1:] += curve.astype(np.float32) @ rows
        scaled = rows * np.sqrt(curve).astype(np.float32)[:, None]
        hessian[1:, 1:] += scaled.T @ scaled
    hessian[1:, 0] = hessian[0, 1:]
    if not (np.isfinite(loss) and np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        raise NotFinite(expected="finite sums over the training rows", got="NaN or infinity")
    return LogisticSums(len(matrix), loss, gradient, hessian)


def optimum(
    matrix: Array, labels: NDArray[np.integer], *, ridge: float, good_weight: float = 1.0, bad_weight: float = 1.0
) -> Array:
    """The weights (1 + inputs,) that minimise mean loss + ridge/2 |slopes|^2: where a federation of these rows should arrive.

    Damped Newton steps (Boyd & Vandenberghe 2004, algorithm 9.5) from zero until the decrement is rounding. Raises ``NotFinite``.
    """
    weights = np.zeros(matrix.shape[1] + 1, np.float32)
    penalty = np.full(len(weights), ridge)
    penalty[0] = 0.0

    def sums_at(point: Array) -> tuple[LogisticSums, float]:
        sums = logistic_sums(point, matrix, labels, good_weight=good_weight, bad_weight=bad_weight)
        return sums, sums.loss / sums.rows + float(penalty @ point.astype(np.float64) ** 2) / 2

    sums, value = sums_at(weights)
    for _ in range(MOST_STEPS):
        gradient = sums.gradient / sums.rows + penalty * weights
        direction = np.linalg.lstsq(sums.hessian / sums.rows + np.diag(penalty), -gradient, rcond=None)[0]
        if -gradient @ direction < DECREMENT:
            break
        length, point = 1.0, (weights + direction).astype(np.float32)
        sums, ahead = sums_at(point)
        while ahead > value and length > SHORTEST:
            length /= 2
            point = (weights + length * direction).astype(np.float32)
            sums, ahead = sums_at(point)
        if ahead > value:
            break
        weights, value = point, ahead
    return weights
