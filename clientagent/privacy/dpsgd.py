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
from functools import partial

import numpy as np

from clientagent.preparation.preprocess import Inputs
from clientagent.privacy.clipped import ClippedGradients, Clipping, SumAt
from clientagent.privacy.drawing import Draws, draw_steps, noise_steps
from clientagent.privacy.linear import LinearGradients
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
    weights = base.astype(np.float64)
    stepper = stepper_of(plan, learning_rate(plan, round_number), noise=_noise(gradients, terms))
    drawing, noising, dropping = (stream.child(name) for name in ("rows", "noise", "dropout"))
    tally, expected, epochs = Clipping(), terms.expected_batch, plan.training.epochs
    batches = math.ceil(terms.steps / max(epochs, 1))
    draws = draw_steps(terms.steps, len(inputs.labels), terms.sampling_rate, drawing)
    noises = noise_steps(terms.steps, stepper.noise, noising)
    with np.errstate(over="ignore", invalid="ignore"):  # entered once: what leaves the finite numbers is found at the end
        sums = _sums(gradients, inputs, draws, terms.clip, dropping, tally)
        for step, (sum_at, noise) in enumerate(zip(sums, noises, strict=True)):
            gradient = sum_at(weights)
            gradient /= expected
            gradient += noise
            weights = stepper.step(weights, gradient if pull is None else gradient + pull(weights))
            if progress:
                progress(step // batches + 1, epochs, step % batches + 1, batches)
    update = _narrow(weights - base)
    if not np.isfinite(update).all():
        raise NotFinite(expected="finite weights after training", got="NaN or infinity")
    return PrivateTraining(update, terms.steps, time.monotonic() - started, tally.share, tally.mean_norm)


def _sums(
    gradients: ClippedGradients, inputs: Inputs, draws: Iterator[Draws], clip: float, dropping: Stream, tally: Clipping
) -> Iterator[SumAt]:
    """For each step the sum of its rows' clipped gradients as a function of the weights."""
    labels = inputs.labels.astype(np.float32)
    if isinstance(gradients, LinearGradients):
        yield from gradients.of_steps(inputs.matrix, labels, draws, clip=clip, tally=tally)
        return
    for rows in (rows for steps in draws for rows in steps.each()):
        yield partial(_one_sum, gradients, inputs.matrix.take(rows, axis=0), labels.take(rows), clip, dropping, tally)


def _one_sum(
    gradients: ClippedGradients, rows: Array, labels: Array, clip: float, stream: Stream, tally: Clipping, weights: Floats
) -> Floats:
    summed = gradients(weights.astype(np.float32), rows, labels, clip=clip, stream=stream)
    tally.take_in(summed, len(rows))
    return summed.total


def _noise(gradients: ClippedGradients, terms: RecordTerms) -> Floats:
    """Standard deviation of the noise in each coordinate of a mean gradient."""
    return gradients.noise_scale * (terms.noise_multiplier * terms.clip / terms.expected_batch)


def _narrow(wide: Floats) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return wide.astype(np.float32)
