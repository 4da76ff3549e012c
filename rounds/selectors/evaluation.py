"""How a version scores, from the counts that banks signed: of all banks together, and of each that the reader may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import cached_property

from clientagent.wire.evaluation import (
    Confusion,
    Tally,
    confusion,
    cut_for_budget,
    cut_of,
    empty_tally,
    figures_of,
    probability_of,
    tally_of,
)
from clientagent.wire.messages import EvaluationCounts, SplitCounts
from rounds.figures import palette
from rounds.models import Evaluation, ModelVersion
from rounds.selectors.scope import Audience


@dataclass(frozen=True)
class Holder:
    """Whose customers were counted: a bank's, or with an empty slug those of all banks together."""

    slug: str
    name: str
    place: int
    own: bool
    tally: Tally
    validation: Tally
    budget: float

    @property
    def pooled(self) -> bool:
        return not self.slug

    @cached_property
    def figures(self) -> dict[str, Any]:
        """Of the hold-out customers."""
        return figures_of(self.tally, budget=self.budget)


@dataclass(frozen=True)
class Scores:
    """``holders``: all banks together first, where enough stand behind them, then the visible banks by name."""

    version: ModelVersion
    holders: list[Holder]

    @property
    def pooled(self) -> Holder | None:
        return next((holder for holder in self.holders if holder.pooled), None)

    @property
    def masked(self) -> bool:
        """Whether secure aggregation hides each bank's own counts, from the portal too."""
        return self.version.run.plan.document.privacy.secure_aggregation is not None

    def of(self, slug: str) -> Holder | None:
        """The one asked for, else all banks together, else the first that may be seen."""
        asked = next((holder for holder in self.holders if slug and holder.slug == slug), None)
        return asked or self.pooled or next(iter(self.holders), None)


def scores_of(version: ModelVersion, audience: Audience) -> Scores:
    """Hold-out and validation tallies of a version, as this audience may see them (invariant 13)."""
    rows = list(Evaluation.objects.filter(version=version).select_related("institution").order_by("institution__name"))
    places = palette.places()
    holders = [
        _holder(row, version, places.get(row.institution_id, 0), audience.is_own(row.institution_id))
        for row in rows
        if audience.sees_figures_of(row.institution_id)
    ]
    if version.pooled:
        holders.insert(0, _pooled(version))
    return Scores(version, holders)


def _pooled(version: ModelVersion) -> Holder:
    """All banks together: the sum of the reports that were pooled, or the one sum that secure aggregation opened."""
    plan, pooled = version.run.plan.document, version.pooled or {}
    if sums := pooled.get("sums"):
        counts = EvaluationCounts.model_validate(sums)
        split = {part: _tally(getattr(counts, part), version) for part in ("holdout", "validation")}
    else:
        rows = Evaluation.objects.filter(pk__in=pooled.get("evaluations", [])).order_by("pk").values_list("counts", flat=True)
        reports = [EvaluationCounts.model_validate(row) for row in rows]
        split = {
            part: sum((_tally(getattr(report, part), version) for report in reports), empty_tally(plan.evaluation.bins))
            for part in ("holdout", "validation")
        }
    return Holder("", "", 0, False, split["holdout"], split["validation"], plan.evaluation.alert_budget)


def _holder(row: Evaluation, version: ModelVersion, place: int, own: bool) -> Holder:
    counts = EvaluationCounts.model_validate(row.counts)
    budget = version.run.plan.document.evaluation.alert_budget
    holdout, validation = _tally(counts.holdout, version), _tally(counts.validation, version)
    return Holder(row.institution.slug, row.institution.name, place, own, holdout, validation, budget)


def _tally(split: SplitCounts, version: ModelVersion) -> Tally:
    plan = version.run.plan.document
    return tally_of(split, plan.evaluation.bins, plan.privacy.min_cell)


@dataclass(frozen=True)
class Chosen:
    """A cut, chosen by the share of customers that can be looked at or by the probability from which on they are."""

    by: str
    budget: float
    probability: float
    cut: int
    subject: Holder
    lines: list[tuple[Holder, Confusion]]

    @property
    def confusion(self) -> Confusion:
        return confusion(self.subject.tally.at, self.cut)


def choose(scores: Scores, subject: Holder, *, budget: float | None = None, probability: float | None = None) -> Chosen:
    """What a cut does to the subject's customers and, the same cut, to everybody else's that may be seen."""
    bins = subject.tally.bins
    by = "budget" if probability is None else "probability"
    budget = subject.budget if budget is None else budget
    cut = cut_for_budget(subject.tally.at, budget) if probability is None else cut_of(probability, bins)
    lines = [(holder, confusion(holder.tally.at, cut)) for holder in scores.holders if holder.tally.rows]
    return Chosen(by, budget, probability_of(cut, bins), cut, subject, lines)
