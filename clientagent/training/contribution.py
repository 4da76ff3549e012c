"""What a bank makes of one round under the plan's strategy: the vectors that leave, the figures beside them, what stays at home."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from clientagent.evaluation.scores import mean_loss
from clientagent.preparation.preprocess import Inputs
from clientagent.training.compression import Compressed, compress
from clientagent.training.local import LocalTraining, Progress, class_weights, train
from clientagent.training.newton import logistic_sums
from clientagent.training.strategies import Correction, Given, beside, correction, own_after, personal_start
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.institution import FLOAT32, clip_update
from clientagent.wire.strategies import LOSSES_COUNT, Vectors, uplink_layout
from clientagent.wire.tensors import Array, Layout, norm_of

Trained = Callable[[Correction, Progress | None], LocalTraining]
CODEC_STREAM = 1
"""The codec's randomness is another stream than the training's, from the same seed."""


@dataclass(frozen=True)
class Contribution:
    """``flat`` (uplink,): all that leaves, in the order of the uplink's layout, before any codec. ``personal``: Ditto's model."""

    flat: Array
    steps: int
    train_loss: float | None
    base_loss: float | None
    seconds: float
    personal: Array | None = None

    def times(self, factor: float) -> Contribution:
        """What a rehearsal's hostile bank says instead."""
        if factor == 1:
            return self
        return Contribution(
            self.flat * np.float32(factor), self.steps, self.train_loss, self.base_loss, self.seconds, self.personal
        )


@dataclass(frozen=True)
class Outgoing:
    """``data`` leaves the bank and stands for a vector of L2 norm ``norm``; ``own`` is kept with it.

    ``norm_before``: before it was cut to ``clip`` for the privacy of the bank (None where nothing cuts it), and before any codec. It
    stays at the bank.
    """

    data: bytes
    norm: float
    norm_before: float
    own: Vectors = field(default_factory=dict)
    clip: float | None = None

    @property
    def within(self) -> bool | None:
        """Whether nothing was cut; None where nothing cuts."""
        return None if self.clip is None else self.norm_before <= self.clip * FLOAT32


def contribute(
    plan: Plan, given: Given, inputs: Inputs, *, round_number: int, seed: int, progress: Progress | None = None,
    trained_by: Trained | None = None,
) -> Contribution:
    """One round's work on a bank's training rows. ``trained_by``: private training, under record_dp. Raises ``NotFinite``."""
    if plan.strategy.name == "newton":
        return _sums(plan, given, inputs)
    asked = correction(plan, given)
    trained = (
        trained_by(asked, progress)
        if trained_by
        else train(plan, given.base, inputs, round_number=round_number, seed=seed, progress=progress, correction=asked)
    )
    vectors = {"update": trained.update, **beside(plan, given, trained.mean_gradient)}
    base_loss = mean_loss(plan, given.base, inputs) if plan.strategy.name in LOSSES_COUNT and len(inputs.labels) else None
    started = time.monotonic()
    personal = _personal(plan, given, inputs, round_number=round_number, seed=seed)
    return Contribution(
        _flat(vectors, uplink_layout(plan, inputs.matrix.shape[1])), trained.steps, trained.train_loss, base_loss,
        trained.seconds + time.monotonic() - started, personal,
    )


def outgoing(
    plan: Plan, given: Given, made: Contribution, inputs: int, *, seed: int, clip: float | None = None
) -> Outgoing:
    """The bytes of a contribution under the plan's codec, cut to ``clip`` first, and what the bank keeps with them.

    Raises ``NotFinite``.
    """
    layout = uplink_layout(plan, inputs)
    flat, before = made.flat, None
    if clip is not None:
        clipped = clip_update(flat, clip * FLOAT32)
        flat, before = clipped.update.astype(np.float32), clipped.norm
    random = np.random.Generator(np.random.Philox(key=[seed, CODEC_STREAM]))
    coded = compress(flat, layout, plan.compression, residual=given.own.get("residual"), random=random)
    norm = norm_of(coded.sent)
    if before is None:
        before = norm if coded.sent is flat else norm_of(flat)
    return Outgoing(coded.data, norm, before, _own(plan, given, made, coded, layout), clip)


def _own(plan: Plan, given: Given, made: Contribution, coded: Compressed, layout: Layout) -> Vectors:
    sent = layout.unflatten(coded.sent) if "update" in layout.shapes else {"update": coded.sent}
    own = own_after(plan, given, sent, made.personal)
    return own if coded.residual is None else {**own, "residual": coded.residual}


def _sums(plan: Plan, given: Given, inputs: Inputs) -> Contribution:
    """Newton: gradient and Hessian over all rows; nothing is trained."""
    started = time.monotonic()
    good, bad = class_weights(plan, inputs)
    sums = logistic_sums(given.base, inputs.matrix, inputs.labels, good_weight=good, bad_weight=bad)
    flat = uplink_layout(plan, inputs.matrix.shape[1]).flatten(sums.vectors)
    return Contribution(flat, 0, sums.mean_loss, sums.mean_loss, time.monotonic() - started)


def _personal(plan: Plan, given: Given, inputs: Inputs, *, round_number: int, seed: int) -> Array | None:
    """Ditto's second training, of the model that stays."""
    found = personal_start(plan, given)
    if found is None:
        return None
    start, near = found
    return start + train(plan, start, inputs, round_number=round_number, seed=seed, correction=near, alone=True).update


def _flat(vectors: Vectors, layout: Layout) -> Array:
    return layout.flatten(vectors) if "update" in layout.shapes else vectors["update"]
