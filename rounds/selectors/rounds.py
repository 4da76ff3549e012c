"""One round for reading at leisure: its snapshot, what was committed before the arithmetic, and who was weighed how."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from django.http import Http404

from clientagent.wire.canonical import canonical
from institutions.models import Institution
from rounds.models import ModelVersion, Round, Update
from rounds.selectors.scope import Audience
from rounds.selectors.snapshot import Snapshot, snapshot
from rounds.selectors.timeline import STAGES, Span, timeline


@dataclass(frozen=True)
class AggregationLine:
    institution: str
    name: str
    own: bool
    update_digest: str
    rows: int
    weight: float
    staleness: int
    norm: float | None
    cosine: float | None


@dataclass(frozen=True)
class TimelineLine:
    """A bank's spans, or with an empty name the round's own."""

    name: str
    own: bool
    spans: list[Span]

    @property
    def end_s(self) -> float:
        return max((span.end_s for span in self.spans), default=0.0)


@dataclass(frozen=True)
class RoundPage:
    snap: Snapshot
    round: Round
    version: ModelVersion | None
    lines: list[AggregationLine]
    manifest_text: str
    spans: list[TimelineLine]

    @property
    def total_s(self) -> float:
        return max((line.end_s for line in self.spans), default=0.0)

    @property
    def stages(self) -> list[tuple[str, str]]:
        """The legend of the time line."""
        return [(stage, str(word)) for stage, word in STAGES.items()]


def round_page(run_id: uuid.UUID, number: int, audience: Audience) -> RoundPage:
    """The last attempt at a round. Raises ``Http404``."""
    snap = snapshot(run_id, audience, number)
    if snap.viewed is None or snap.viewed.number != number:
        raise Http404
    round_ = Round.objects.select_related("base", "run__plan__project").get(pk=snap.viewed.pk)
    version = ModelVersion.objects.filter(round=round_).first()
    manifest: dict[str, Any] = round_.aggregation or {}
    names = dict(Institution.objects.values_list("slug", "name"))
    lines = _lines(round_, manifest.get("entries", []), names, audience)
    text = json.dumps(json.loads(canonical(manifest)), indent=2, ensure_ascii=False) if manifest else ""
    return RoundPage(snap, round_, version, lines, text, _timeline(round_, names, audience))


def _timeline(round_: Round, names: dict[str, str], audience: Audience) -> list[TimelineLine]:
    """An operator sees the round's spans and the own bank's: how long another trained says how much it has."""
    by_slug: dict[str, list[Span]] = {}
    visible = [span for span in timeline(round_) if audience.sees_all or span.slug in ("", audience.institution_slug)]
    for span in visible:
        by_slug.setdefault(span.slug, []).append(span)
    return [TimelineLine(names.get(slug, slug), slug == audience.institution_slug, spans) for slug, spans in by_slug.items()]


def _lines(round_: Round, entries: list[dict[str, Any]], names: dict[str, str], audience: Audience) -> list[AggregationLine]:
    """Rows and weights are the roster's to see; an update's norm and direction only its own bank's."""
    updates = Update.objects.filter(into=round_).values_list("digest", "norm", "cosine", "participation__institution_id")
    shapes = {digest: (norm, cosine) for digest, norm, cosine, bank in updates if audience.sees_figures_of(bank)}
    return [
        AggregationLine(
            entry["institution"],
            names.get(entry["institution"], entry["institution"]),
            entry["institution"] == audience.institution_slug,
            entry["update_digest"],
            entry["rows"],
            entry["weight"],
            entry.get("staleness", 0),
            *shapes.get(entry["update_digest"], (None, None)),
        )
        for entry in entries
    ]
