"""Clipped gradients of a logistic model, the rows of many steps side by side: in a small table a step's time is that of its calls.

A record's gradient is its slope times (1, inputs), so to cut it to the clip is to cut the slope to the clip over the length of
(1, inputs) in the metric. Lengths do not depend on the weights: they are had for many steps at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from clientagent.privacy.clipped import SAFETY, ClippedSum, Clipping, SumAt
from clientagent.privacy.dense import DenseGradients, row_squares
from clientagent.privacy.drawing import Draws, Rows
from clientagent.training.batches import placed
from clientagent.wire.privacy.stream import Floats, Stream
from clientagent.wire.tensors import Array

TOGETHER_VALUES = 1 << 18
"""Inputs that are copied side by side: within a core's cache."""


class LinearGradients(DenseGradients):
    """For a layout of one layer with one output: the bias, then the weights."""

    def __call__(self, weights: Array, rows: Array, labels: Array, *, clip: float, stream: Stream) -> ClippedSum:
        tally, alone = Clipping(), Draws(np.arange(len(rows)), [len(rows)])
        with np.errstate(over="ignore", invalid="ignore"):
            for sum_at in self.of_steps(rows, labels, [alone], clip=clip, tally=tally):
                total = sum_at(weights.astype(np.float64))
        return ClippedSum(total, tally.clipped, tally.norms)

    def of_steps(
        self, matrix: Array, labels: Array, draws: Iterable[Draws], *, clip: float, tally: Clipping
    ) -> Iterator[SumAt]:
        """For each step a function from weights to the sum of its rows' clipped gradients; ``tally`` hears of them afterwards."""
        for together in draws:
            for steps in together.at_most(TOGETHER_VALUES // (matrix.shape[1] + 1)):
                yield from self._of_some(matrix, labels, steps, clip, tally)

    def _of_some(self, matrix: Array, labels: Array, steps: Draws, clip: float, tally: Clipping) -> Iterator[SumAt]:
        rows = _beside_ones(matrix, steps.rows)
        lengths = np.sqrt(row_squares(rows[:, 1:]).astype(np.float64) * self._scales[0] ** 2 + 1)
        highest = (clip * SAFETY / lengths).astype(np.float32)
        lowest, labels, slopes = -highest, labels.take(steps.rows), np.zeros(len(rows), np.float32)
        start = 0
        for end in steps.ends:
            at = slice(start, end)
            yield partial(self._sum, rows[at], labels[at], lowest[at], highest[at], slopes[at])
            start = end
        sizes = np.abs(slopes)
        tally.add(sizes * lengths, int(np.count_nonzero(sizes > highest)))

    def _sum(self, rows: Array, labels: Array, lowest: Array, highest: Array, slopes: Array, weights: Floats) -> Floats:
        """``slopes`` (batch,) is told them before they are cut."""
        cut = self._slope(rows @ weights.astype(np.float32), labels)
        slopes[:] = cut
        np.minimum(cut, highest, out=cut)
        np.maximum(cut, lowest, out=cut)
        total = cut @ rows
        if not math.isfinite(total.dot(total)):  # nought times infinity is not nought
            usable = np.isfinite(cut) & np.isfinite(rows).all(axis=1)
            total = cut[usable] @ rows[usable]
        return total.astype(np.float64)


def _beside_ones(matrix: Array, rows: Rows) -> Array:
    """(1, inputs) of these rows, at the same place in a cache line every time."""
    found = placed(len(rows), matrix.shape[1] + 1, first=0)
    found[:, 0] = 1
    found[:, 1:] = matrix.take(rows, axis=0)
    return found
