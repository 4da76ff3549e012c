"""Local training: from a base version and the bank's rows to an update. Same inputs, same bits.

Batches are slices of one shuffled copy an epoch; torch runs on one thread, and is imported only where a network is to be trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clientagent.plugins import at_work
from clientagent.preparation.preprocess import Inputs
from clientagent.training.batches import shuffled
from clientagent.training.closed_form import LogisticTrainer
from clientagent.training.strategies import Correction
from clientagent.wire.errors import NotFinite
from clientagent.wire.plan import Plan
from clientagent.wire.strategies import is_logistic
from clientagent.wire.tensors import Array

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int, int, int], None]
"""Called with (epoch, epochs, batch, batches), each from 1."""
PROGRESS_EVERY_S = 0.2
FOCUS = 2.0
"""The focusing parameter of the focal loss (Lin et al. 2017, section 3.2)."""


@dataclass(frozen=True)
class LocalTraining:
    """``update`` is new minus base, float32 (parameters,). ``train_loss`` is the mean over all rows and epochs.

    ``mean_gradient`` (parameters,): of all steps, before any correction; None where the correction did not ask for it.
    """

    update: Array
    steps: int
    train_loss: float | None
    seconds: float
    mean_gradient: Array | None = None


def train(
    plan: Plan, base: Array, inputs: Inputs, *, round_number: int, seed: int, progress: Progress | None = None,
    correction: Correction | None = None, alone: bool = False,
) -> LocalTraining:
    """Train ``plan.training.epochs`` epochs from the flat vector ``base``. ``seed`` fixes shuffling and dropout.

    ``correction``: what the plan's strategy adds to each gradient. ``alone``: the result is not to be averaged.

    Raises ``NotFinite`` when the weights or the loss leave the finite numbers.
    """
    started = time.monotonic()
    epochs = plan.training.epochs
    if epochs == 0 or len(inputs.labels) == 0:
        return LocalTraining(np.zeros_like(base), 0, None, time.monotonic() - started)
    rate = plan.learning_rate_in(round_number)
    trainer = trainer_of(plan, base, inputs, learning_rate=rate, seed=seed, alone=alone, correction=correction)
    report = at_most_every(PROGRESS_EVERY_S, progress)
    with at_work(plan):
        losses = [trainer.epoch(partial(report, epoch, epochs)) for epoch in range(1, epochs + 1)]
    update = trainer.weights() - base
    if not np.isfinite(update).all():
        raise NotFinite(expected="finite weights after training", got="NaN or infinity")
    return LocalTraining(update, trainer.steps, math.fsum(losses) / epochs, time.monotonic() - started, trainer.mean_gradient)


def trainer_of(
    plan: Plan, base: Array, inputs: Inputs, *, learning_rate: float, seed: int, alone: bool = False,
    correction: Correction | None = None,
) -> LogisticTrainer | Trainer:
    """Whoever trains this plan's model fastest: logistic models need no torch."""
    if is_logistic(plan):
        weights = class_weights(plan, inputs)
        return LogisticTrainer(
            plan, base, inputs, learning_rate=learning_rate, seed=seed, class_weights=weights, correction=correction
        )
    return Trainer(plan, base, inputs, learning_rate=learning_rate, seed=seed, alone=alone, correction=correction)


class Trainer:
    """One model, one fresh optimiser, one set of rows; each call of ``epoch`` is one pass. ``alone``: not to be averaged."""

    def __init__(
        self, plan: Plan, base: Array, inputs: Inputs, *, learning_rate: float, seed: int, alone: bool = False,
        correction: Correction | None = None,
    ) -> None:
        import torch

        from clientagent import models
        from clientagent.training import corrections, optimisers

        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        self._models, self._torch = models, torch
        self._module, self._layout = models.build(plan, inputs.matrix.shape[1])
        models.load_flat(self._module, self._layout, base)
        self._inputs = inputs
        self._labels = torch.from_numpy(inputs.labels.astype(np.float32))
        self._batch_size = plan.training.batch_size
        self._objective = _objective(plan, inputs)
        self._optimiser = optimisers.optimiser_of(plan, self._module, learning_rate, alone=alone)
        self._correct = corrections.Corrector(correction or Correction(), self._module, self._layout)
        self.steps = 0

    @property
    def mean_gradient(self) -> Array | None:
        return self._correct.mean_gradient

    def epoch(self, on_batch: Callable[[int, int], None] | None = None) -> float:
        """One pass in a new order; the mean loss of a row. Raises ``NotFinite``."""
        rows, size = len(self._labels), self._batch_size
        order = self._torch.randperm(rows)
        labels = self._labels[order]
        batches, batch = -(-rows // size), 0
        total = self._torch.zeros((), dtype=self._torch.float64)
        self._module.train()
        for part in shuffled(self._inputs, order.numpy(), size):
            matrix = self._torch.from_numpy(part)
            for start in range(0, len(part), size):
                at = slice(batch * size, (batch + 1) * size)
                total += self._step(matrix[start : start + size], labels[at])
                batch += 1
                if on_batch:
                    on_batch(batch, batches)
        loss = float(total) / rows
        if not math.isfinite(loss):
            raise NotFinite(expected="a finite training loss", got=str(loss))
        return loss

    def weights(self) -> Array:
        return self._models.to_flat(self._module, self._layout)

    def _step(self, matrix: Tensor, labels: Tensor) -> Tensor:
        """One batch; its summed loss."""
        self._optimiser.zero_grad()
        loss = self._objective(self._module(matrix), labels)
        loss.backward()
        self._correct()
        self._optimiser.step()
        self.steps += 1
        return loss.detach() * len(labels)


def _objective(plan: Plan, inputs: Inputs) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean loss of logits (batch,) against labels (batch,), as ``training.class_weight`` says."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    good, bad = class_weights(plan, inputs)

    def weighted(logits: Tensor, labels: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(logits, labels, weight=torch.where(labels > 0, bad, good))

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        losses = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return ((1 - torch.exp(-losses)) ** FOCUS * losses).mean()

    if plan.training.class_weight == "focal":
        return focal
    return weighted if plan.training.class_weight == "balanced" else binary_cross_entropy_with_logits


def class_weights(plan: Plan, inputs: Inputs) -> tuple[float, float]:
    """How much a good and a bad row count: 1, or inversely to their numbers with mean 1 where the plan balances."""
    rows, bad = len(inputs.labels), int(inputs.labels.sum())
    if plan.training.class_weight != "balanced" or bad in (0, rows):
        return 1.0, 1.0
    return rows / (2 * (rows - bad)), rows / (2 * bad)


def at_most_every(seconds: float, progress: Progress | None) -> Progress:
    """Pass on the last batch of an epoch and otherwise no more than one call in ``seconds``."""
    last = -math.inf

    def report(epoch: int, epochs: int, batch: int, batches: int) -> None:
        nonlocal last
        now = time.monotonic()
        if progress and (now - last >= seconds or (epoch, batch) == (epochs, batches)):
            last = now
            progress(epoch, epochs, batch, batches)

    return report
