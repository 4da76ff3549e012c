"""The figures at the head of a run's page: of its result, of its newest evaluated version, or of the one looked back at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rounds.models import Evaluation, ModelVersion, Run
from rounds.selectors.scope import Audience


@dataclass(frozen=True)
class Figures:
    auc: float | None = None
    ks: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class Headline:
    """``version`` with the figures of all banks together and, for an operator, of its own; ``change`` of the AUC is
    against the version before."""

    version: ModelVersion | None = None
    is_result: bool = False
    pooled: Figures = Figures()
    own: Figures | None = None
    change: float | None = None


def headline_of(run: Run, audience: Audience, *, upto: int | None = None) -> Headline:
    """``upto`` is the round that is looked back at."""
    rows = run.versions.filter(pooled__isnull=False).order_by("-number")
    is_result = upto is None and run.selected is not None and run.selected.pooled is not None
    number = run.selected.number if is_result and run.selected else upto
    rows = rows.filter(number__lte=number) if number is not None else rows
    found = list(rows[:2])
    if not found or (upto is not None and found[0].number != upto):
        return Headline()
    version, pooled = found[0], _figures(found[0].pooled or {})
    before = _figures(found[1].pooled or {}) if len(found) > 1 else Figures()
    change = pooled.auc - before.auc if not is_result and pooled.auc is not None and before.auc is not None else None
    return Headline(version, is_result, pooled, _own(version, audience), change)


def _figures(metrics: dict[str, Any]) -> Figures:
    """AUC and KS of the hold-out, which reports; the loss of the validation, which chooses."""
    holdout, validation = metrics.get("holdout") or {}, metrics.get("validation") or {}
    return Figures(holdout.get("auc"), holdout.get("ks"), validation.get("loss"))


def _own(version: ModelVersion, audience: Audience) -> Figures | None:
    if audience.institution_id is None:
        return None
    row = Evaluation.objects.filter(version=version, institution=audience.institution_id).first()
    return _figures({"validation": row.validation, "holdout": row.holdout}) if row else None
