"""Private training: DP-SGD (Abadi et al. 2016, algorithm 1) with rows drawn by Poisson sampling. Same key, same bits.

A step draws each row with the terms' public chance, sums the drawn rows' clipped gradients, adds Gaussian noise of ``noise
multiplier * clip`` and divides by the public expected batch. An empty draw is a step like any other: noise alone. What follows
(moments, step sizes, weight decay, a pull towards the base) sees noised sums only and so costs nothing more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clientagent.preparation.preprocess import Inputs
from clientagent.privacy.clipped import ClippedGradients
from clientagent.privacy.steps import stepper_of
from clientagent.training.local import Progress
from clientagent.wire.errors import NotFinite
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.stream import Floats, Stream
from clientagent.wire.privacy.terms import RecordTerms, learning_rate
from clientagent.wire.tensors import Array

Pull = Callable[[Floats], Floats]
"""From weights (parameters,) to what a strategy adds to the gradient there; it must not look at rows."""


@dataclass(frozen=True)
class PrivateTraining:
    """``update`` is new minus base, float32 (parameters,), and may leave the bank once its event is booked.

    ``clip_share``, the share of drawn records whose gradients were cut, and ``mean_norm``, their norm before that on average, are for
    this bank's own receipt: they carry no noise.
    """

    update: Array
    steps: int
    seconds: float
    clip_share: float
    mean_norm: float


def train_privately(
    plan: Plan, base: Array, inputs: Inputs, gradients: ClippedGradients, terms: RecordTerms, *, round_number: int,
    stream: Stream, pull: Pull | None = None, progress: Progress | None = None,
) -> PrivateTraining:  # fmt: skip
    """One update. ``stream`` is the secret of this release: on the bank's disk before training, never sent.

    Raises ``NotFinite`` when the weights leave the finite numbers.
    """
    started = time.monotonic()
    labels = inputs.labels.astype(np.float32)
    weights = base.astype(np.float64)
    stepper = stepper_of(plan, learning_rate(plan, round_number), noise=_noise(gradients, terms))
    drawing, noising, dropping = (stream.child(name) for name in ("rows", "noise", "dropout"))
    drawn, cut, norms = 0, 0, 0.0
    for step in range(terms.steps):
        rows = draw(len(labels), terms.sampling_rate, drawing)
        summed = gradients(_narrow(weights), inputs.matrix[rows], labels[rows], clip=terms.clip, stream=dropping)
        gradient = (summed.total / terms.expected_batch) + noising.gaussian(len(base)) * stepper.noise
        weights = stepper.step(weights, gradient if pull is None else gradient + pull(weights))
        drawn, cut, norms = drawn + len(rows), cut + summed.clipped, norms + summed.norms
        if progress:
            progress(*_where(step, terms, plan.training.epochs))
    update = _narrow(weights - base)
    if not np.isfinite(update).all():
        raise NotFinite(expected="finite weights after training", got="NaN or infinity")
    return PrivateTraining(update, terms.steps, time.monotonic() - started, cut / max(drawn, 1), norms / max(drawn, 1))


def draw(rows: int, sampling_rate: float, stream: Stream) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Poisson sampling: each row by itself, with the chance ``sampling_rate`` (2**-32 less at most, which costs no privacy).

    Often another number of rows, perhaps none.
    """
    if sampling_rate >= 1:
        return np.arange(rows)
    return np.flatnonzero(stream.words32(rows) < np.uint32(sampling_rate * 2**32))


def _noise(gradients: ClippedGradients, terms: RecordTerms) -> Floats:
    """Standard deviation of the noise in each coordinate of a mean gradient."""
    return gradients.noise_scale * (terms.noise_multiplier * terms.clip / terms.expected_batch)


def _narrow(wide: Floats) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return wide.astype(np.float32)


def _where(step: int, terms: RecordTerms, epochs: int) -> tuple[int, int, int, int]:
    """(epoch, epochs, batch, batches), from 1, as plain training tells it."""
    batches = math.ceil(terms.steps / max(epochs, 1))
    return step // batches + 1, epochs, step % batches + 1, batches
