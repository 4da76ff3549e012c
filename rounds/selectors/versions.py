"""One model version: where it came from, how it scores, who holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clientagent.wire.messages import EvaluationCounts
from clientagent.wire.metrics import from_sparse
from clientagent.wire.weights import layout_of
from rounds import palette
from rounds.models import Evaluation, ModelVersion, Seat
from rounds.selectors.scope import Audience


@dataclass(frozen=True)
class Scores:
    """One holder's figures of the version; ``name`` is empty for all banks together."""

    name: str
    place: int
    own: bool
    validation: dict[str, Any]
    holdout: dict[str, Any]


@dataclass(frozen=True)
class VersionPage:
    version: ModelVersion
    is_result: bool
    newer: ModelVersion | None
    lineage: list[ModelVersion]
    scores: list[Scores]
    roc: tuple[list[float], list[float]] | None
    contributors: list[dict[str, Any]]
    holders: list[Seat]
    shapes: list[tuple[str, str]]


def version_page(version: ModelVersion, audience: Audience) -> VersionPage:
    run = version.run
    manifest = (version.round.aggregation if version.round else None) or {}
    return VersionPage(
        version,
        run.selected_id == version.pk,
        run.versions.filter(number__gt=version.number).order_by("number").first(),
        _lineage(version),
        _scores(version, audience),
        _pooled_roc(version),
        manifest.get("entries", []),
        list(run.seats.filter(state=Seat.State.SEATED).select_related("institution")) if run.selected_id == version.pk else [],
        _shapes(version),
    )


def _lineage(version: ModelVersion, most: int = 6) -> list[ModelVersion]:
    """The version and the ones before it, newest first."""
    rows = version.run.versions.filter(number__lte=version.number).order_by("-number")
    return list(rows[:most])


def _scores(version: ModelVersion, audience: Audience) -> list[Scores]:
    places = palette.places()
    rows = Evaluation.objects.filter(version=version).select_related("institution").defer("counts").order_by("institution__slug")
    if not audience.sees_all:
        rows = rows.filter(institution=audience.institution_id)
    found = [
        Scores(
            row.institution.name,
            places.get(row.institution_id, 0),
            audience.is_own(row.institution_id),
            row.validation,
            row.holdout,
        )
        for row in rows
    ]
    if version.pooled:
        found.insert(0, Scores("", 0, False, version.pooled["validation"], version.pooled["holdout"]))
    return found


def _pooled_roc(version: ModelVersion) -> tuple[list[float], list[float]] | None:
    """(false positive rate, true positive rate) over all banks' hold-out customers, from their summed counts."""
    if not version.pooled:
        return None
    bins = version.run.plan.document.evaluation.bins
    totals = sum(
        from_sparse(EvaluationCounts.model_validate(row).holdout, bins)
        for row in Evaluation.objects.filter(version=version).values_list("counts", flat=True)
    )
    good, bad = totals[::-1, 0].cumsum(), totals[::-1, 1].cumsum()  # type: ignore[index]
    if not good[-1] or not bad[-1]:
        return None
    kept = [i for i in range(len(good)) if i == len(good) - 1 or totals[::-1][i].sum()]  # type: ignore[index]
    return [0.0, *(float(good[i] / good[-1]) for i in kept)], [0.0, *(float(bad[i] / bad[-1]) for i in kept)]


def _shapes(version: ModelVersion) -> list[tuple[str, str]]:
    layout = layout_of(version.run.plan.document, version.run.inputs or 0)
    return [(name, " × ".join(str(width) for width in shape)) for name, shape in layout.shapes.items()]
