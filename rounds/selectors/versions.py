"""One model version: where it came from, how it scores, who holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clientagent.wire.weights import layout_of
from rounds.models import ModelVersion, Seat
from rounds.selectors.evaluation import Scores, scores_of
from rounds.selectors.scope import Audience


@dataclass(frozen=True)
class VersionPage:
    version: ModelVersion
    is_result: bool
    newer: ModelVersion | None
    lineage: list[ModelVersion]
    scores: Scores
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
        scores_of(version, audience),
        manifest.get("entries", []),
        list(run.seats.filter(state=Seat.State.SEATED).select_related("institution")) if run.selected_id == version.pk else [],
        _shapes(version),
    )


def _lineage(version: ModelVersion, most: int = 6) -> list[ModelVersion]:
    """The version and the ones before it, newest first."""
    rows = version.run.versions.filter(number__lte=version.number).order_by("-number")
    return list(rows[:most])


def _shapes(version: ModelVersion) -> list[tuple[str, str]]:
    layout = layout_of(version.run.plan.document, version.run.inputs or 0)
    return [(name, " × ".join(str(width) for width in shape)) for name, shape in layout.shapes.items()]
