"""Private training: DP-SGD (Abadi et al. 2016, algorithm 1) with rows drawn by Poisson sampling. Same key, same bits.

A step draws each row with the terms' public chance, sums the drawn rows' clipped gradients, adds Gaussian noise of ``noise
multiplier * clip`` and divides by the public expected batch. An empty draw is a step like any other: noise alone. What follows
(moments, step sizes, weight decay, a pull towards the base) sees noised sums only and so costs nothing more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
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

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
TOGETHER = 1 << 16
"""Values that are drawn at once: within a core's cache."""
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
    draws = draw_steps(terms.steps, len(labels), terms.sampling_rate, drawing)
    noises = noise_steps(terms.steps, stepper.noise, noising)
    with np.errstate(over="ignore", invalid="ignore"):  # entered once: what leaves the finite numbers is found at the end
        for step, (rows, noise) in enumerate(zip(draws, noises, strict=True)):
            summed = gradients(
                weights.astype(np.float32), inputs.matrix.take(rows, axis=0), labels.take(rows), clip=terms.clip, stream=dropping
            )
            gradient = summed.total / terms.expected_batch
            gradient += noise
            weights = stepper.step(weights, gradient if pull is None else gradient + pull(weights))
            drawn, cut, norms = drawn + len(rows), cut + summed.clipped, norms + summed.norms
            if progress:
                progress(*_where(step, terms, plan.training.epochs))
    update = _narrow(weights - base)
    if not np.isfinite(update).all():
        raise NotFinite(expected="finite weights after training", got="NaN or infinity")
    return PrivateTraining(update, terms.steps, time.monotonic() - started, cut / max(drawn, 1), norms / max(drawn, 1))


def draw(rows: int, sampling_rate: float, stream: Stream) -> Rows:
    """Poisson sampling: each row by itself, with the chance ``sampling_rate`` (2**-32 less at most, which costs no privacy).

    Often another number of rows, perhaps none.
    """
    if sampling_rate >= 1:
        return np.arange(rows)
    return np.flatnonzero(stream.words32(rows) < np.uint32(sampling_rate * 2**32))


def draw_steps(steps: int, rows: int, sampling_rate: float, stream: Stream) -> Iterator[Rows]:
    """``draw`` so many times, from the same words; several steps' words are drawn at once where rows are few."""
    if sampling_rate >= 1:
        yield from (np.arange(rows) for _ in range(steps))
        return
    threshold = np.uint32(sampling_rate * 2**32)
    for count in _chunks(steps, rows):
        steps_of, drawn = np.nonzero(stream.words32(count * rows).reshape(count, rows) < threshold)
        yield from np.split(drawn, np.searchsorted(steps_of, np.arange(1, count)))


def noise_steps(steps: int, deviation: Floats, stream: Stream) -> Iterator[Floats]:
    """Noise (parameters,) of these standard deviations for each step, fresh in each; several steps' at once in a small model."""
    for count in _chunks(steps, len(deviation)):
        yield from stream.gaussian(count * len(deviation)).reshape(count, -1) * deviation


def _chunks(steps: int, values: int) -> Iterator[int]:
    """Steps that are drawn together: as many as fit in ``TOGETHER`` values, and one at least."""
    most = max(TOGETHER // max(values, 1), 1)
    for start in range(0, steps, most):
        yield min(most, steps - start)


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
