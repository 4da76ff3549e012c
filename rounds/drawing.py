"""What a browser is shown of a run: the same template draws the first page and every push."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils import translation
from django.utils.html import strip_spaces_between_tags
from django.utils.safestring import mark_safe

from rounds.figures import Figure, run_figures
from rounds.selectors.scope import Audience
from rounds.selectors.series import series_of
from rounds.selectors.snapshot import Snapshot, figures_key, snapshot


@dataclass(frozen=True)
class View:
    """What one or many browsers look at: a run, as an audience, in a language, at one round or following the run."""

    run_id: uuid.UUID
    audience: Audience
    language: str
    round_number: int | None = None


PARTS = ("state", "notice", "facts", "ribbon", "grid", "events")
"""The page's live parts, each a template; a push carries those that changed."""


@dataclass(frozen=True)
class Drawing:
    """One rendering. ``charts_key`` is the same while the charts are; ``charts`` is empty when the caller has them already."""

    parts: dict[str, str]
    charts_key: str
    charts: dict[str, Any]


def draw(view: View, *, known_charts: str = "") -> Drawing:
    """Read one snapshot and render it. Raises ``Http404`` for a run that the audience may not see."""
    with translation.override(view.language):
        snap = snapshot(view.run_id, view.audience, view.round_number)
        key = charts_key(snap)
        return Drawing(parts_of(snap), key, charts_message(snap) if key != known_charts else {})


def parts_of(snap: Snapshot) -> dict[str, str]:
    context = {"snap": snap, "run": snap.run, "audience": snap.audience}
    return {part: mark_safe(_lean(render_to_string(f"rounds/run/{part}.html", context))) for part in PARTS}


def _lean(html: str) -> str:
    """Without the templates' indentation, which would be sent eight times a second."""
    return strip_spaces_between_tags(re.sub(r"\n\s*", "\n", html)).strip()


def charts_key(snap: Snapshot) -> str:
    return hashlib.sha256(repr(figures_key(snap)).encode()).hexdigest()[:16]


def figures_of(snap: Snapshot) -> list[Figure]:
    return run_figures(series_of(snap.run, snap.audience), snap.places, rounds=snap.total_rounds)


def charts_message(snap: Snapshot) -> dict[str, Any]:
    figures = figures_of(snap)
    html = render_to_string(
        "rounds/run/charts.html", {"figures": figures, "snap": snap, "nothing_drawn": all(f.is_empty for f in figures)}
    )
    return {"html": html, "figures": {figure.name: figure.json for figure in figures}}


def as_text(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
