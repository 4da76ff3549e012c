"""How much of a customer's logit comes from each feature, against a stated baseline: the average training customer.

Logistic models and scorecards: exact, weight * (input - baseline). Networks: integrated gradients (Sundararajan, Taly & Yan 2017,
equation 1) along the straight line from the baseline, by the midpoint rule. Either way contributions add up to the difference of
logits, exactly or nearly; ``Attribution.residual`` says how nearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.evaluation.scores import score
from clientagent.plugins import at_work
from clientagent.scoring.stored import StoredModel
from clientagent.wire.messages import (
    BinsInput,
    CategoricalInput,
    CategoricalWoe,
    PiecewiseInput,
    PreprocessingSpec,
    QuantileInput,
    WoeInput,
)
from clientagent.wire.messages.preprocessing import AnyCategorical, AnyNumeric
from clientagent.wire.tensors import Array
from clientagent.wire.weights import layer_widths, layout_of

Wide = NDArray[np.float64]
STEPS = 32
"""Of the integral: on the tables that we tried, less than 0.01 of a logit is left over."""
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Attribution:
    """``logits`` (rows,) and ``contributions`` (rows, features) to them; ``baseline``: the average customer's logit."""

    logits: Wide
    contributions: Wide
    baseline: float

    @property
    def residual(self) -> Wide:
        """(rows,) what the contributions do not explain."""
        return self.logits - self.baseline - self.contributions.sum(axis=1)


def feature_slices(spec: PreprocessingSpec) -> dict[str, slice]:
    """Which inputs belong to which feature, in the order of the inputs."""
    slices, at = {}, 0
    for entry in (*spec.numeric, *spec.categorical):
        slices[entry.name] = slice(at, at := at + len(entry.input_names))
    return slices


def baseline_of(spec: PreprocessingSpec) -> Array:
    """The inputs (inputs,) of the average training customer of all banks, as the frozen specification tells it."""
    parts = [_number(entry) for entry in spec.numeric] + [_category(entry) for entry in spec.categorical]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def _number(entry: AnyNumeric) -> list[float]:
    profile = entry.profile
    missing = [profile.missing if profile else 0.0] * entry.indicator
    match entry:
        case WoeInput():
            told = [*entry.bins, entry.missing]
            customers = [evidence.good + evidence.bad for evidence in told]
            return [sum(n * one.woe for n, one in zip(customers, told, strict=True)) / max(sum(customers), 1)]
        case QuantileInput():
            return [0.0] * bool(entry.knots) + missing
        case BinsInput():
            return (list(profile.shares) if profile and entry.edges else []) + missing
        case PiecewiseInput():
            shares = np.array(profile.shares if profile else [0.0] * (len(entry.knots) + 1))
            above = shares[::-1].cumsum()[::-1]
            return [float(above[i + 1] + (above[i] - above[i + 1]) / 2) for i in range(1, len(entry.knots))] + missing
        case _:
            return [0.0, *missing]


def _category(entry: AnyCategorical) -> list[float]:
    match entry:
        case CategoricalWoe():
            told = [*entry.bins, entry.other, entry.missing]
            customers = [evidence.good + evidence.bad for evidence in told]
            return [sum(n * one.woe for n, one in zip(customers, told, strict=True)) / max(sum(customers), 1)]
        case CategoricalInput():
            *known, other, missing = entry.shares or [0.0] * (len(entry.categories) + 2)
            return [*known, *[other] * entry.other, *[missing] * entry.missing]


def attribute(model: StoredModel, matrix: Array) -> Attribution:
    """Contributions of features to the logits of ``matrix`` (rows, inputs). Raises ``NotFinite``."""
    base = baseline_of(model.spec)
    by_input = _integrated(model, matrix, base) * (matrix - base)
    starts = [part.start for part in feature_slices(model.spec).values()]
    contributions = np.add.reduceat(by_input.astype(np.float64), starts, axis=1)
    start = float(score(model.plan, model.flat, base[None, :])[0])
    return Attribution(score(model.plan, model.flat, matrix), contributions, start)


def _integrated(model: StoredModel, matrix: Array, base: Array) -> Array:
    """The mean gradient (rows, inputs) on the way from the baseline to each row."""
    if model.plan.model.is_plugin:
        return _integrated_by_torch(model, matrix, base)
    tensors = layout_of(model.plan, matrix.shape[1]).unflatten(model.flat)
    layers = len(layer_widths(model.plan, matrix.shape[1])) - 1
    weights = [tensors[f"layers.{i}.weight"] for i in range(layers)]
    if layers == 1:
        return np.broadcast_to(weights[0][0], matrix.shape)
    biases = [tensors[f"layers.{i}.bias"] for i in range(layers)]
    gradients = np.empty_like(matrix)
    for start in range(0, len(matrix), BLOCK_ROWS):
        rows = matrix[start : start + BLOCK_ROWS]
        total = np.zeros_like(rows)
        for step in range(STEPS):
            total += _gradient(weights, biases, base + np.float32((step + 0.5) / STEPS) * (rows - base))
        gradients[start : start + BLOCK_ROWS] = total / STEPS
    return gradients


def _integrated_by_torch(model: StoredModel, matrix: Array, base: Array) -> Array:
    """The same for a plugin, whose gradient only torch knows."""
    import torch

    from clientagent import models

    module, layout = models.build(model.plan, matrix.shape[1])
    models.load_flat(module, layout, model.flat)
    module.eval()
    gradients = np.empty_like(matrix)
    for start in range(0, len(matrix), BLOCK_ROWS):
        rows = matrix[start : start + BLOCK_ROWS]
        total = np.zeros_like(rows)
        for step in range(STEPS):
            at = torch.from_numpy(base + np.float32((step + 0.5) / STEPS) * (rows - base)).requires_grad_()
            with at_work(model.plan):
                (gradient,) = torch.autograd.grad(module(at).sum(), at)
            total += gradient.numpy()
        gradients[start : start + BLOCK_ROWS] = total / STEPS
    return gradients


def _gradient(weights: list[Array], biases: list[Array], rows: Array) -> Array:
    """The gradient (rows, inputs) of the logit of a network with ReLU between its layers."""
    active = []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        rows = rows @ weight.T + bias
        active.append(rows > 0)
        rows = np.maximum(rows, 0)
    back = np.broadcast_to(weights[-1][0], (len(rows), weights[-1].shape[1]))
    for weight, on in zip(weights[-2::-1], active[::-1], strict=True):
        back = (back * on) @ weight
    return back
