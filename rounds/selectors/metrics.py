"""Pooled metrics of a version from the banks' counts, and which version is the run's result."""

from __future__ import annotations

from typing import Any

import numpy as np

from clientagent.wire.messages import EvaluationCounts, SplitCounts
from clientagent.wire.metrics import Metrics, from_sparse, metrics_of
from rounds.models import ModelVersion, Run


def split_metrics(split: SplitCounts, bins: int) -> dict[str, Any]:
    """One bank's figures for one split, as JSON."""
    return _json(metrics_of(from_sparse(split, bins), split.loss_sum, split.rows))


def pool_version(version: ModelVersion) -> None:
    """Write the pooled figures of a version, once at least ``min_banks`` banks stand behind them (invariant 13)."""
    plan = version.run.plan.document
    counts = [EvaluationCounts.model_validate(row.counts) for row in version.evaluations.order_by("institution__slug")]
    if len(counts) < plan.privacy.min_banks:
        return
    bins = plan.evaluation.bins
    pooled: dict[str, Any] = {
        "banks": len(counts),
        "validation": _pool([row.validation for row in counts], bins),
        "holdout": _pool([row.holdout for row in counts], bins),
    }
    loss = pooled["validation"]["loss"]
    ModelVersion.objects.filter(pk=version.pk).update(pooled=pooled, validation_loss=loss)
    version.pooled, version.validation_loss = pooled, loss


def _pool(splits: list[SplitCounts], bins: int) -> dict[str, Any]:
    total = np.sum([from_sparse(split, bins) for split in splits], axis=0)
    return _json(metrics_of(total, sum(split.loss_sum for split in splits), sum(split.rows for split in splits)))


def _json(metrics: Metrics) -> dict[str, Any]:
    return {
        "rows": metrics.rows, "positives": metrics.positives, "auc": metrics.auc, "ks": metrics.ks,
        "gini": metrics.gini, "loss": metrics.loss,
    }


def losses(run: Run) -> dict[int, float]:
    """Pooled validation loss by version number, where known."""
    rows = run.versions.filter(number__gt=0, validation_loss__isnull=False).values_list("number", "validation_loss")
    return {number: loss for number, loss in rows if loss is not None}


def selected_version(run: Run) -> ModelVersion:
    """The run's result: the lowest pooled validation loss (the earliest of equals), or the last version."""
    known = losses(run)
    if run.plan.document.schedule.select == "best" and known:
        number = min(known, key=lambda n: (known[n], n))
        return run.versions.get(number=number)
    return run.last_version


def should_end(run: Run, *, last: int) -> bool:
    """Whether version ``last`` was the last: all rounds are done, or ``patience`` rounds brought no improvement."""
    schedule = run.plan.document.schedule
    if last >= schedule.rounds:
        return True
    known = losses(run)
    if not schedule.patience or not known:
        return False
    best = min(known, key=lambda n: (known[n], n))
    return max(known) - best >= schedule.patience
