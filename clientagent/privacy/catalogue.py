"""Which way a plan's model gets its clipped gradients: closed form for the catalogue's layers, Opacus for anything else."""

from __future__ import annotations

import math

from clientagent.privacy.clipped import ClippedGradients
from clientagent.privacy.dense import DenseGradients
from clientagent.privacy.linear import LinearGradients
from clientagent.wire.plan import Plan
from clientagent.wire.strategies import CLOSED_FORM
from clientagent.wire.weights import layer_widths, layout_of

INPUT_SCALE = 1.5
"""Tried on two tables from 1 to 3: below, small clips bite little and noise is large; above, probabilities are spoiled."""


def gradients_of(
    plan: Plan, *, inputs: int, features: int, class_weights: tuple[float, float] = (1.0, 1.0)
) -> ClippedGradients:
    """For a model with so many ``inputs`` made of so many ``features``. ``class_weights``: of a good and a bad row.

    Balanced weights must come from a protected count, because each row's gradient depends on them. Raises ``PlanUnsupported``.
    """
    if plan.model.family not in CLOSED_FORM:
        return _of_any_module(plan, inputs, class_weights)
    widths = layer_widths(plan, inputs)
    return (LinearGradients if len(widths) == 2 else DenseGradients)(
        layout_of(plan, inputs), scales(widths, features), focal=plan.training.class_weight == "focal",
        dropout=plan.model.dropout if plan.model.family == "mlp" else 0.0, class_weights=class_weights,
    )


def _of_any_module(plan: Plan, inputs: int, class_weights: tuple[float, float]) -> ClippedGradients:
    """By Opacus' hooks, after a trial that no record's gradient exceeds the clip."""
    from clientagent import models
    from clientagent.privacy.modules import ModuleGradients, record_losses, self_test

    module, layout = models.build(plan, inputs)
    gradients = ModuleGradients(module, layout, record_losses(plan, class_weights))
    self_test(gradients, inputs=inputs, clip=1.0)
    return gradients


def scales(widths: list[int], features: int) -> list[float]:
    """How much the weights of each layer count: the average record's inputs have a norm of sqrt(features), so 1 after this."""
    return [INPUT_SCALE / math.sqrt(max(features, 1)), *(1 / math.sqrt(width) for width in widths[1:-1])]


def balanced(rows: int, positives: float) -> tuple[float, float]:
    """Weights of a good and a bad row, inversely to their numbers and 1 on average, from a protected count of positives."""
    bad = min(max(positives, 1.0), rows - 1.0) if rows > 1 else 0.5
    return rows / (2 * (rows - bad)), rows / (2 * bad)
