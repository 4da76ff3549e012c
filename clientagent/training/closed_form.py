"""Local training of a logistic model in closed form: the gradient is X' (p - y) / n, so no autograd and no torch.

The same steps as the general path takes with torch, in float32 numpy: Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight
decay (Loshchilov & Hutter 2019), or plain SGD.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clientagent.preparation.preprocess import Inputs
from clientagent.training.batches import shuffled
from clientagent.training.strategies import Correction
from clientagent.wire.errors import NotFinite
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array

BETA1, BETA2, EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
ONE = np.float32(1)


class LogisticTrainer:
    """One weight vector, one fresh optimiser, one set of rows; each call of ``epoch`` is one pass over them.

    Within, the bias is the last weight and the last input is 1; vectors from and to outside are in the layout's order, where
    the bias comes first. ``class_weights``: how much a good and a bad row count.
    """

    def __init__(
        self, plan: Plan, base: Array, inputs: Inputs, *, learning_rate: float, seed: int, class_weights: tuple[float, float],
        correction: Correction | None = None,
    ) -> None:
        correction = correction or Correction()
        self._weights = _bias_last(base)
        self._inputs = inputs if inputs.at_a_time else Inputs(_with_ones(inputs.matrix), inputs.labels)
        self._labels = inputs.labels.astype(np.float32)
        good, bad = (np.float32(weight) for weight in class_weights)
        self._costs = None if good == bad == 1 else np.where(self._labels > 0, bad, good)
        self._batch_size = plan.training.batch_size
        self._rate, self._decay = learning_rate, plan.training.weight_decay
        self._is_adam = plan.training.optimiser == "adam"
        self._first, self._second = np.zeros_like(self._weights), np.zeros_like(self._weights)
        self._slope = np.float32(correction.slope)
        self._anchor = None if correction.anchor is None else _bias_last(correction.anchor)
        self._pull = None if correction.pull is None else _bias_last(correction.pull)
        self._sum = np.zeros_like(self._weights) if correction.averages else None
        self._order = np.random.Generator(np.random.Philox(key=seed % 2**64))
        self.steps = 0

    @property
    def mean_gradient(self) -> Array | None:
        """The mean of the uncorrected gradients (parameters,), None before the first step or where it was not asked for."""
        return None if self._sum is None or not self.steps else _bias_first(self._sum / np.float32(self.steps))

    def epoch(self, on_batch: Callable[[int, int], None] | None = None) -> float:
        """One pass in a new order; the mean loss of a row. Raises ``NotFinite``."""
        rows, size = len(self._labels), self._batch_size
        order = self._order.permutation(rows)
        labels = self._labels[order]
        costs = None if self._costs is None else self._costs[order]
        logits, batches, batch = np.empty(rows, np.float32), -(-rows // size), 0
        with np.errstate(over="ignore", invalid="ignore"):
            for matrix in shuffled(self._inputs, order, size, ones=bool(self._inputs.at_a_time)):
                for start in range(0, len(matrix), size):
                    at = slice(batch * size, (batch + 1) * size)
                    part: NDArray[Any] = matrix[start : start + size]
                    np.matmul(part, self._weights, out=logits[at])
                    errors = ONE / (ONE + np.exp(-logits[at])) - labels[at]
                    if costs is not None:
                        errors *= costs[at]
                    self._move((errors @ part) / np.float32(len(part)))
                    batch += 1
                    if on_batch:
                        on_batch(batch, batches)
            losses = np.logaddexp(np.float32(0), logits) - labels * logits
        loss = float(np.sum(losses if costs is None else losses * costs, dtype=np.float64)) / rows
        if not math.isfinite(loss):
            raise NotFinite(expected="a finite training loss", got=str(loss))
        return loss

    def weights(self) -> Array:
        """The flat vector in the layout's order."""
        return _bias_first(self._weights)

    def _move(self, gradient: Array) -> None:
        self.steps += 1
        if self._sum is not None:
            self._sum += gradient
        if self._slope and self._anchor is not None:
            gradient = gradient + self._slope * (self._weights - self._anchor)
        if self._pull is not None:
            gradient = gradient + self._pull
        if not self._is_adam:
            if self._decay:
                gradient = gradient + np.float32(self._decay) * self._weights
            self._weights -= np.float32(self._rate) * gradient
            return
        if self._decay:
            self._weights *= np.float32(1 - self._rate * self._decay)
        self._first += (ONE - BETA1) * (gradient - self._first)
        self._second += (ONE - BETA2) * (gradient * gradient - self._second)
        step = np.float32(self._rate / (1 - float(BETA1) ** self.steps))
        scale = np.float32(1 / math.sqrt(1 - float(BETA2) ** self.steps))
        self._weights -= step * self._first / (np.sqrt(self._second) * scale + EPSILON)


def _with_ones(matrix: Array) -> Array:
    wide: Array = np.concatenate([matrix, np.ones((len(matrix), 1), np.float32)], axis=1)
    return wide


def _bias_last(flat: Array) -> Array:
    """The layout sorts by name: ``layers.0.bias`` before ``layers.0.weight``."""
    return np.concatenate([flat[1:], flat[:1]]).astype(np.float32)


def _bias_first(weights: Array) -> Array:
    return np.concatenate([weights[-1:], weights[:-1]])
