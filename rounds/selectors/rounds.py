"""One round for reading at leisure: its snapshot, what was committed before the arithmetic, and who was weighed how."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from django.http import Http404

from clientagent.wire.canonical import canonical
from institutions.models import Institution
from rounds.models import ModelVersion, Round
from rounds.selectors.scope import Audience
from rounds.selectors.snapshot import Snapshot, snapshot


@dataclass(frozen=True)
class AggregationLine:
    institution: str
    name: str
    own: bool
    update_digest: str
    rows: int
    weight: float


@dataclass(frozen=True)
class RoundPage:
    snap: Snapshot
    round: Round
    version: ModelVersion | None
    lines: list[AggregationLine]
    manifest_text: str


def round_page(run_id: uuid.UUID, number: int, audience: Audience) -> RoundPage:
    """The last attempt at a round. Raises ``Http404``."""
    snap = snapshot(run_id, audience, number)
    if snap.viewed is None or snap.viewed.number != number:
        raise Http404
    round_ = Round.objects.select_related("base", "run__plan__project").get(pk=snap.viewed.pk)
    version = ModelVersion.objects.filter(round=round_).first()
    manifest: dict[str, Any] = round_.aggregation or {}
    names = dict(Institution.objects.values_list("slug", "name"))
    lines = [
        AggregationLine(
            entry["institution"],
            names.get(entry["institution"], entry["institution"]),
            entry["institution"] == audience.institution_slug,
            entry["update_digest"],
            entry["rows"],
            entry["weight"],
        )
        for entry in manifest.get("entries", [])
    ]
    text = json.dumps(json.loads(canonical(manifest)), indent=2, ensure_ascii=False) if manifest else ""
    return RoundPage(snap, round_, version, lines, text)
