"""How a version scores a bank's customers, as counts by score bin. numpy only, so that evaluating needs no torch but for a plugin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clientagent.data.table import Labels
from clientagent.plugins import at_work, require_torch
from clientagent.preparation.preprocess import Inputs, Prepared
from clientagent.preparation.statistics import rounded
from clientagent.wire.errors import NotFinite
from clientagent.wire.messages import EvaluationCounts, SplitCounts
from clientagent.wire.metrics import count, merge_small, to_sparse
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array
from clientagent.wire.weights import layer_widths, layout_of

Logits = NDArray[np.float64]
BLOCK_ROWS = 65_536


def evaluate(
    plan: Plan, flat: Array, prepared: Prepared, *, number: int, version_digest: str, min_cell: int | None = None
) -> EvaluationCounts:
    """Counts of the validation and the hold-out rows for one version's flat vector.

    ``min_cell``: customers that a bin must hold, as the plan says where left out. Counts that leave only within a sum over banks take 1.
    """
    cell = plan.privacy.min_cell if min_cell is None else min_cell
    return EvaluationCounts(
        number=number,
        version_digest=version_digest,
        validation=split_counts(plan, score(plan, flat, prepared.validation.matrix), prepared.validation.labels, cell),
        holdout=split_counts(plan, score(plan, flat, prepared.holdout.matrix), prepared.holdout.labels, cell),
    )


def score(plan: Plan, flat: Array, matrix: Array) -> Logits:
    """Logits (rows,) of a matrix (rows, inputs). Raises ``NotFinite``, and for a plugin ``PlanUnsupported``."""
    score_rows = _by_plugin(plan, flat, matrix.shape[1]) if plan.model.is_plugin else _by_layers(plan, flat, matrix.shape[1])
    logits = np.empty(len(matrix))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(matrix), BLOCK_ROWS):
            logits[start : start + BLOCK_ROWS] = score_rows(matrix[start : start + BLOCK_ROWS])
    if not np.isfinite(logits).all():
        raise NotFinite(expected="finite scores", got=f"{np.count_nonzero(~np.isfinite(logits))} NaN or infinite ones")
    return logits


def _by_layers(plan: Plan, flat: Array, inputs: int) -> Callable[[Array], Array]:
    tensors = layout_of(plan, inputs).unflatten(flat)
    layers = len(layer_widths(plan, inputs)) - 1

    def score_rows(rows: Array) -> Array:
        for i in range(layers):
            rows = rows @ tensors[f"layers.{i}.weight"].T + tensors[f"layers.{i}.bias"]
            if i + 1 < layers:
                np.maximum(rows, 0, out=rows)
        return rows[:, 0]

    return score_rows


def _by_plugin(plan: Plan, flat: Array, inputs: int) -> Callable[[Array], Array]:
    require_torch()
    import torch

    from clientagent import models

    torch.set_num_threads(1)
    module, layout = models.build(plan, inputs)
    models.load_flat(module, layout, flat)
    module.eval()

    def score_rows(rows: Array) -> Array:
        with torch.no_grad(), at_work(plan):
            logits: Array = module(torch.from_numpy(np.ascontiguousarray(rows))).numpy()
            return logits

    return score_rows


def losses(logits: Logits, labels: Labels) -> Logits:
    """Log loss (rows,) of each customer: log(1 + exp(z)) - y z, without overflow."""
    return np.maximum(logits, 0) - labels * logits + np.log1p(np.exp(-np.abs(logits)))


def probabilities(logits: Logits) -> Logits:
    """1 / (1 + exp(-z)), without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, small) / (1 + small)


def mean_loss(plan: Plan, flat: Array, inputs: Inputs) -> float:
    return float(np.mean(losses(score(plan, flat, inputs.matrix), inputs.labels)))


def split_counts(plan: Plan, logits: Logits, labels: Labels, min_cell: int | None = None) -> SplitCounts:
    """The counts that may leave the bank. Fewer than ``min_cell`` customers leave nothing but their number."""
    counts = merge_small(count(logits, labels, plan.evaluation.bins), plan.privacy.min_cell if min_cell is None else min_cell)
    total = rounded(float(np.sum(losses(logits, labels)))) if counts.any() else 0.0
    return SplitCounts(rows=len(labels), loss_sum=total, bins=to_sparse(counts))
