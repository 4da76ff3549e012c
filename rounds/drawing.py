"""What a browser is shown of a run: the same template draws the first page and every push."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import mark_safe

from rounds.figures.run import Figure, run_figures
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
    """One rendering. ``charts_key`` and ``last_entry`` say whether charts and events must be drawn anew."""

    parts: dict[str, str]
    charts_key: str
    charts: dict[str, Any]
    last_entry: int
    serial: int = field(default_factory=itertools.count(1).__next__, compare=False)
    _texts: dict[tuple[int, bool], str] = field(default_factory=dict, compare=False, repr=False)

    def text_since(self, before: Drawing | None, *, charts: bool) -> str:
        """The parts that changed, and charts where asked, as the inside of a JSON object; written once for all browsers alike."""
        key = (before.serial if before else 0, charts)
        if key not in self._texts:
            known = before.parts if before else {}
            message: dict[str, Any] = {"html": {name: html for name, html in self.parts.items() if known.get(name) != html}}
            if charts:
                message |= {"charts": self.charts, "charts_key": self.charts_key}
            self._texts[key] = as_text(message)[1:-1]
        return self._texts[key]


def draw(view: View, before: Drawing | None = None) -> Drawing:
    """Read one snapshot and render it; what cannot have changed since ``before`` is taken from there.

    Raises ``Http404`` for a run that the audience may not see.
    """
    with translation.override(view.language):
        snap = snapshot(view.run_id, view.audience, view.round_number)
        key = charts_key(snap)
        charts = before.charts if before and before.charts_key == key else charts_message(snap)
        events = before.parts["events"] if before and before.last_entry == snap.last_entry else ""
        return Drawing(parts_of(snap, events=events), key, charts, snap.last_entry)


def parts_of(snap: Snapshot, *, events: str = "") -> dict[str, str]:
    """The live parts. ``events`` are those of an earlier drawing where the ledger has not grown."""
    context = {"snap": snap, "run": snap.run, "audience": snap.audience}
    return {part: events if part == "events" and events else _part(part, context) for part in PARTS}


def _part(name: str, context: dict[str, Any]) -> str:
    return mark_safe(_lean(render_to_string(f"rounds/run/{name}.html", context)))


def _lean(html: str) -> str:
    """Without the templates' indentation, which would be sent eight times a second."""
    return re.sub(r"\s*\n\s*", "\n", html).strip()


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
