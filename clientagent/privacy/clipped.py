"""What private training asks of a model: the sum of its records' clipped gradients. How it is had is the model's business."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.privacy.stream import Floats, Stream
from clientagent.wire.tensors import Array

SAFETY = 1 - 2.0**-12
"""Records are clipped to a little less than the bound, so that float32's rounding of a norm never exceeds it."""


@dataclass(frozen=True)
class ClippedSum:
    """``total`` (parameters,) sums gradients of norm at most the clip, in the model's metric; ``clipped`` records were cut.

    ``norms``: what the gradients' norms add up to before that, of those that have one.
    """

    total: Floats
    clipped: int
    norms: float = 0.0


SumAt = Callable[[Floats], Floats]
"""From weights (parameters,) to the sum (parameters,) of one step's clipped gradients there."""


@dataclass
class Clipping:
    """What clipping did to the records ``drawn`` so far: how many were cut, and what their norms add up to before that.

    A record without a finite norm contributes nothing and counts as cut.
    """

    drawn: int = 0
    clipped: int = 0
    norms: float = 0.0

    def add(self, norms: NDArray[np.floating], clipped: int) -> None:
        total, unusable = float(norms.sum(dtype=np.float64)), 0
        if not math.isfinite(total):
            usable = norms[np.isfinite(norms)]
            total, unusable = float(usable.sum(dtype=np.float64)), len(norms) - len(usable)
        self.drawn, self.clipped, self.norms = self.drawn + len(norms), self.clipped + clipped + unusable, self.norms + total

    def take_in(self, summed: ClippedSum, drawn: int) -> None:
        self.drawn, self.clipped, self.norms = self.drawn + drawn, self.clipped + summed.clipped, self.norms + summed.norms

    @property
    def share(self) -> float:
        """Of the drawn records, those that were cut."""
        return self.clipped / max(self.drawn, 1)

    @property
    def mean_norm(self) -> float:
        return self.norms / max(self.drawn, 1)


class ClippedGradients(Protocol):
    """One model's per-record gradients. ``noise_scale`` (parameters,): how the metric stretches each coordinate's noise."""

    noise_scale: Floats

    def __call__(self, weights: Array, rows: Array, labels: Array, *, clip: float, stream: Stream) -> ClippedSum:
        """For rows (batch, inputs) with labels (batch,) of 0 and 1; an empty batch sums to zero."""


def clip_factors(norms: NDArray[np.floating], clip: float) -> NDArray[np.float32]:
    """min(1, clip / norm) for norms (batch,); 0 where a norm is not a finite number: such a record contributes nothing."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factors = np.minimum(1.0, clip * SAFETY / norms.astype(np.float64))
    return np.where(np.isfinite(norms), factors, 0.0).astype(np.float32)
