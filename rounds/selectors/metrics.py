"""Pooled metrics of a version from the banks' counts, and which version is the run's result."""

from __future__ import annotations

from typing import Any

import numpy as np

from clientagent.wire.messages import EvaluationCounts, SplitCounts
from clientagent.wire.metrics import Metrics, from_sparse, metrics_of
from clientagent.wire.plan import Plan
from rounds.lifecycle import Phase
from rounds.models import ModelVersion, Participation, Run, Seat


def split_metrics(split: SplitCounts, bins: int) -> dict[str, Any]:
    """One bank's figures for one split, as JSON."""
    return _pool([split], bins)


def pooled_figures(counts: list[EvaluationCounts], bins: int) -> dict[str, Any]:
    """Figures of the sums over these banks, in the order given, as JSON."""
    return {
        "banks": len(counts),
        "validation": _pool([row.validation for row in counts], bins),
        "holdout": _pool([row.holdout for row in counts], bins),
    }


def _pool(splits: list[SplitCounts], bins: int) -> dict[str, Any]:
    total = np.sum([from_sparse(split, bins) for split in splits], axis=0)
    shown = [split for split in splits if split.bins]  # fewer than min_cell customers show nothing, so they weigh nothing
    return _json(metrics_of(total, sum(split.loss_sum for split in shown), sum(split.rows for split in shown)))


def _json(metrics: Metrics) -> dict[str, Any]:
    return {
        "rows": metrics.rows, "positives": metrics.positives, "auc": metrics.auc, "ks": metrics.ks,
        "gini": metrics.gini, "loss": metrics.loss,
    }


def losses(run: Run) -> dict[int, float]:
    """Pooled validation loss by version number, where known."""
    rows = run.versions.filter(number__gt=0, validation_loss__isnull=False).values_list("number", "validation_loss")
    return {number: loss for number, loss in rows if loss is not None}


def takes_last(plan: Plan) -> bool:
    """Newton's last version is the optimum; under record-level privacy choosing would look at customers outside of the budget."""
    return plan.strategy.name == "newton" or plan.privacy.record_dp is not None


def chooses_best(plan: Plan) -> bool:
    return plan.schedule.select == "best" and not takes_last(plan)


def selected_version(run: Run) -> ModelVersion:
    """The run's result: the lowest pooled validation loss (the earliest of equals), or the last version."""
    known = losses(run)
    if known and chooses_best(run.plan.document):
        number = min(known, key=lambda n: (known[n], n))
        return run.versions.get(number=number)
    return run.last_version


def should_end(run: Run, *, last: int) -> bool:
    """Whether version ``last`` was the last: all rounds are done, or ``patience`` rounds brought no improvement."""
    schedule = run.plan.document.schedule
    if last >= run.total_versions:
        return True
    known = losses(run)
    if not schedule.patience or not known or takes_last(run.plan.document):
        return False
    best = min(known, key=lambda n: (known[n], n))
    return max(known) - best >= schedule.patience


def closing_evaluators(run: Run) -> set[int]:
    """Institutions (their ids) whose evaluation of the last version is awaited: who made it in sync mode, all in async."""
    if not run.plan.document.evaluation.every:
        return set()
    if run.is_async:
        return set(run.seats.filter(state=Seat.State.SEATED).values_list("institution_id", flat=True))
    made = Participation.objects.filter(round=run.last_version.round, phase=Phase.ACCEPTED)
    return set(made.values_list("institution_id", flat=True))
