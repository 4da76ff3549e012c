"""The figures at the head of a run's page: of its result, of its newest evaluated version, or of the one looked back at."""

from __future__ import annotations

from collections.abc import Sequence
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


def _has_result(run: Run, upto: int | None) -> bool:
    return upto is None and run.selected is not None and run.selected.pooled is not None


def evaluated(run: Run, *, upto: int | None = None) -> list[ModelVersion]:
    """The version that the head of the page tells of, and the one evaluated before it. ``upto`` is the round that is looked back at."""
    rows = run.versions.filter(pooled__isnull=False).order_by("-number")
    number = run.selected.number if _has_result(run, upto) and run.selected else upto
    return list((rows.filter(number__lte=number) if number is not None else rows)[:2])


def headline_of(run: Run, found: Sequence[ModelVersion], audience: Audience, *, upto: int | None = None) -> Headline:
    """``found`` is what ``evaluated`` says of the run and ``upto``."""
    is_result = _has_result(run, upto)
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
