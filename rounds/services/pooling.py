"""Pooled figures of versions: written once enough banks stand behind them (invariant 13)."""

from __future__ import annotations

from dataclasses import dataclass

from clientagent.wire.messages import EvaluationCounts, SplitCounts
from clientagent.wire.metrics import from_sparse, merge_small, to_sparse
from rounds.models import Evaluation, ModelVersion
from rounds.selectors.metrics import pooled_figures


def pool_version(version: ModelVersion) -> None:
    """Pool what the banks counted for this version, if at least ``min_banks`` did.

    In async mode few banks see any one version: their counts gather over versions until every bank of the roster is among
    them, and are then published for the newest. Windows never overlap, so no two totals differ by one bank.
    """
    evaluations = _window(version) if version.run.is_async else list(version.evaluations.select_related("institution"))
    plan = version.run.plan.document
    latest = {row.institution.slug: row for row in evaluations}
    enough = max(plan.privacy.min_banks, len(version.run.roster) if version.run.is_async else 1)
    if len(latest) < enough or version.pooled is not None:
        return
    counts = [EvaluationCounts.model_validate(latest[slug].counts) for slug in sorted(latest)]
    pooled = pooled_figures(counts, plan.evaluation.bins) | {"evaluations": sorted(row.pk for row in latest.values())}
    loss = pooled["validation"]["loss"]
    ModelVersion.objects.filter(pk=version.pk, pooled__isnull=True).update(pooled=pooled, validation_loss=loss)
    version.pooled, version.validation_loss = pooled, loss


@dataclass(frozen=True)
class OpenedCounts:
    """The one sum of counts that secure aggregation opened, over so many ``banks``."""

    counts: EvaluationCounts
    banks: int


def pool_opened(version: ModelVersion, opened: OpenedCounts) -> None:
    """Pool what a cohort counted, its small bins merged; no bank's own counts were ever here."""
    plan = version.run.plan.document
    if opened.banks < plan.privacy.min_banks or version.pooled is not None:
        return
    bins, cell = plan.evaluation.bins, plan.privacy.min_cell
    counts = opened.counts.model_copy(update={
        "validation": _merged(opened.counts.validation, bins, cell), "holdout": _merged(opened.counts.holdout, bins, cell),
    })
    pooled = pooled_figures([counts], bins) | {"banks": opened.banks, "sums": counts.model_dump(mode="json")}
    loss = pooled["validation"]["loss"]
    ModelVersion.objects.filter(pk=version.pk, pooled__isnull=True).update(pooled=pooled, validation_loss=loss)
    version.pooled, version.validation_loss = pooled, loss


def _merged(split: SplitCounts, bins: int, min_cell: int) -> SplitCounts:
    merged = merge_small(from_sparse(split, bins), min_cell)
    return SplitCounts(rows=split.rows, loss_sum=split.loss_sum if merged.any() else 0.0, bins=to_sparse(merged))


def _window(version: ModelVersion) -> list[Evaluation]:
    """Evaluations of the versions after the last pooled one, oldest first."""
    pooled = version.run.versions.filter(pooled__isnull=False, number__lt=version.number).order_by("-number").first()
    start = pooled.number if pooled else 0
    rows = Evaluation.objects.filter(version__run=version.run, version__number__gt=start, version__number__lte=version.number)
    return list(rows.select_related("institution").order_by("version__number"))
