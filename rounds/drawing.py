"""What a browser is shown of a run: the same template draws the first page and every push."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.template.loader import render_to_string
from django.utils import translation

from rounds.figures.run import Figure, run_figures
from rounds.pieces import Part, render_part
from rounds.selectors.reading import Reading
from rounds.selectors.scope import Audience
from rounds.selectors.series import series_of
from rounds.selectors.snapshot import Snapshot, figures_key, shown_to


@dataclass(frozen=True)
class View:
    """What one or many browsers look at: a run, as an audience, in a language, at one round or following the run."""

    run_id: uuid.UUID
    audience: Audience
    language: str
    round_number: int | None = None

    @property
    def scene(self) -> tuple[uuid.UUID, int | None]:
        """What is read for it, whoever looks."""
        return self.run_id, self.round_number


CHARTS_EVERY_S = 1.0
"""Charts of a run that goes on are drawn at most this often."""
PARTS = ("state", "notice", "facts", "ribbon", "grid", "events")
"""The page's live parts, each a template; a push carries what changed of them."""


@dataclass(frozen=True)
class Drawing:
    """One rendering. ``charts_key`` says whether the charts must be drawn anew."""

    parts: dict[str, Part]
    charts_key: str
    charts: dict[str, Any]
    last_entry: int
    charts_at: float = field(default_factory=time.monotonic, compare=False)
    serial: int = field(default_factory=itertools.count(1).__next__, compare=False)
    _texts: dict[tuple[int, bool], str] = field(default_factory=dict, compare=False, repr=False)

    def text_since(self, before: Drawing | None, *, charts: bool) -> str:
        """What changed, as the inside of a JSON object; written once for all browsers alike.

        "html" holds whole parts; "lists" holds the changed items of parts whose frame the browser has.
        """
        key = (before.serial if before else 0, charts)
        if key not in self._texts:
            message: dict[str, Any] = {"html": {}, "lists": {}}
            for name, part in self.parts.items():
                changes = part.since(before.parts[name]) if before else None
                if changes is None:
                    message["html"][name] = part.html
                else:
                    message["lists"] |= changes
            if charts:
                message |= {"charts": self.charts, "charts_key": self.charts_key}
            self._texts[key] = as_text(message)[1:-1]
        return self._texts[key]


def draw(view: View, reading: Reading, before: Drawing | None = None) -> Drawing:
    """Render one reading for one view; what cannot have changed since ``before`` is taken from there.

    Raises ``Http404`` for a run that the audience may not see.
    """
    with translation.override(view.language):
        snap = shown_to(view.audience, reading)
        key = charts_key(snap)
        events = before.parts["events"] if before and before.last_entry == snap.last_entry else None
        parts = parts_of(snap, events=events)
        if before and (before.charts_key == key or _charts_may_wait(snap, before)):
            return Drawing(parts, before.charts_key, before.charts, snap.last_entry, before.charts_at)
        return Drawing(parts, key, charts_message(snap), snap.last_entry)


def _charts_may_wait(snap: Snapshot, before: Drawing) -> bool:
    """Rounds that take no time would otherwise spend more on charts than on themselves; the next look draws them."""
    return not snap.has_ended and time.monotonic() - before.charts_at < CHARTS_EVERY_S


def parts_of(snap: Snapshot, *, events: Part | None = None) -> dict[str, Part]:
    """The live parts. ``events`` are those of an earlier drawing where the ledger has not grown."""
    context = {"snap": snap, "run": snap.run, "audience": snap.audience}
    return {
        name: events if name == "events" and events else render_part(f"rounds/run/{name}.html", context) for name in PARTS
    }


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
