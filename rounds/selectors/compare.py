"""Versions of one project side by side: their figures on the same kind of customers, and in what their plans differ."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum
from django.utils.translation import gettext as _

from clientagent.wire.plan import Plan
from rounds.figures import palette
from rounds.forms.differences import flat
from rounds.models import ModelVersion, Project, Round, Update
from rounds.selectors.evaluation import Holder, scores_of
from rounds.selectors.scope import Audience, version_for

MOST = 6
Key = tuple[uuid.UUID, int]


@dataclass(frozen=True)
class Column:
    """One version with the holder whose customers are compared; ``None`` where it was not evaluated on them."""

    version: ModelVersion
    place: int
    holder: Holder | None
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return _("Run %(run)s, v%(number)s") % {"run": self.version.run.number, "number": self.version.number}

    @property
    def colour(self) -> str:
        return palette.colour(self.place)

    @property
    def key(self) -> str:
        return f"bank-{self.place % len(palette.BANKS)}"


@dataclass(frozen=True)
class FigureRow:
    """One figure of all versions. ``best`` is the index of the best one, ``deltas`` the differences to the first."""

    label: str
    values: list[float | None]
    deltas: list[float | None]
    best: int | None
    share: bool
    notes: list[str]

    @property
    def cells(self) -> list[tuple[float | None, float | None, bool, str]]:
        marked = [i == self.best for i in range(len(self.values))]
        return list(zip(self.values, self.deltas, marked, self.notes, strict=True))


@dataclass(frozen=True)
class Comparison:
    project: Project | None
    columns: list[Column]
    holders: list[Holder]
    subject: str
    figures: list[FigureRow]
    plans: list[tuple[str, list[str]]]
    other_customers: bool


def parse_keys(texts: list[str]) -> list[Key]:
    """``RUN:NUMBER`` each; what is none, or comes twice, is left out."""
    found: list[Key] = []
    for text in texts:
        run, _colon, number = text.partition(":")
        try:
            key = uuid.UUID(run), int(number)
        except ValueError:
            continue
        if key not in found and 0 <= key[1] < 2**31:
            found.append(key)
    return found[:MOST]


def compare(keys: list[Key], audience: Audience, subject: str) -> Comparison:
    """Raises ``Http404`` for a version that the audience may not see. Versions of other projects than the first are left out."""
    versions = [version_for(audience, run, number) for run, number in keys]
    versions = [v for v in versions if v.run.plan.project_id == versions[0].run.plan.project_id]
    scores = [scores_of(version, audience) for version in versions]
    holders = {holder.slug: holder for score in scores for holder in score.holders}
    subject = subject if subject in holders else ""
    found = [next((holder for holder in score.holders if holder.slug == subject), None) for score in scores]
    columns = [
        Column(version, place, holder, _facts(version)) for place, (version, holder) in enumerate(zip(versions, found, strict=True))
    ]
    return Comparison(
        versions[0].run.plan.project if versions else None, columns, list(holders.values()), subject, _rows(columns),
        _plan_differences([version.run.plan.document for version in versions]), _differ(versions),
    )  # fmt: skip


def _facts(version: ModelVersion) -> dict[str, Any]:
    run = version.run
    published = Round.objects.filter(run=run, state="published", number__lte=version.number)
    bytes_up = Update.objects.filter(into__in=published, weight__isnull=False).aggregate(sum=Sum("bytes"))["sum"]
    seconds = (version.round.published_at - run.started_at).total_seconds() if version.round and run.started_at else None  # type: ignore[operator]
    return {"rounds": version.number, "banks": len(run.roster), "bytes_up": bytes_up or 0, "seconds": seconds}


def _rows(columns: list[Column]) -> list[FigureRow]:
    figures = [column.holder.figures if column.holder and column.holder.tally.rows else None for column in columns]

    def row(label: str, *path: Any, more: bool = True, share: bool = False, interval: bool = False) -> FigureRow:
        values = [_at(f, path) for f in figures]
        known = [value for value in values if value is not None]
        best = values.index((max if more else min)(known)) if len(known) > 1 and len(set(known)) > 1 else None
        base = values[0] if values else None
        deltas = [None if i == 0 or value is None or base is None else value - base for i, value in enumerate(values)]
        spans = [_at(f, ("auc_interval",)) if interval else None for f in figures]
        notes = [f"{span[0]:.3f} – {span[1]:.3f}" if span else "" for span in spans]
        return FigureRow(label, values, deltas, best, share, notes)

    if not any(figures):
        return []
    return [
        row("AUC", "auc", "value", interval=True),
        row("Gini", "gini", "value"),
        row("KS", "ks", "value"),
        row(_("Average precision"), "average_precision", "value"),
        row(_("Found at the alert budget"), "recall_at_budget", "value", share=True),
        row(_("Found at one good in twenty flagged"), "recall_at_fpr", 1, "value", share=True),
        row(_("Log loss"), "logloss", more=False),
        row(_("Brier score"), "brier", "value", more=False),
        row(_("Calibration error"), "calibration_error", more=False),
    ]


def _at(found: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        if found is None:
            return None
        found = found.get(name) if isinstance(found, dict) else found[name]
    return found


def _plan_differences(plans: list[Plan]) -> list[tuple[str, list[str]]]:
    """Every field in which not all plans agree, with its value in each."""
    flats = [flat(plan.model_dump(mode="json")) for plan in plans]
    paths = dict.fromkeys(path for one in flats for path in one)
    rows = [(path, [one.get(path, "–") for one in flats]) for path in paths]
    return [(path, values) for path, values in rows if len(set(values)) > 1]


def _differ(versions: list[ModelVersion]) -> bool:
    """Whether not all were evaluated on hold-outs of the same banks and sizes."""
    rosters = [{slug: entry.holdout_rows for slug, entry in version.run.roster.items()} for version in versions]
    return any(roster != rosters[0] for roster in rosters)
