"""What private training asks of a model: the sum of its records' clipped gradients. How it is had is the model's business."""

from __future__ import annotations

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


class ClippedGradients(Protocol):
    """One model's per-record gradients. ``noise_scale`` (parameters,): how the metric stretches each coordinate's noise."""

    noise_scale: Floats

    def __call__(self, weights: Array, rows: Array, labels: Array, *, clip: float, stream: Stream) -> ClippedSum:
        """For rows (batch, inputs) with labels (batch,) of 0 and 1; an empty batch sums to zero."""


def clip_factors(norms: NDArray[np.floating], clip: float) -> NDArray[np.float32]:
    """min(1, clip / norm) for norms (batch,); 0 where a norm is not a finite number: such a record contributes nothing."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factors = bounded_factors(norms.astype(np.float64), clip)
    return np.where(np.isfinite(norms), factors, np.float32(0.0))


def bounded_factors(norms: NDArray[np.float64], clip: float) -> NDArray[np.float32]:
    """``clip_factors`` of finite norms, under the caller's ``errstate``: a norm of nought gives 1."""
    factors: NDArray[np.float32] = np.minimum(1.0, clip * SAFETY / norms).astype(np.float32)
    return factors
