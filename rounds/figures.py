"""A run's charts as Plotly figures, each with the table that says the same in words and numbers.

Figures carry no theme: the page's script draws ``meta: "ink"`` in the text colour and lays grid lines for light or dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from rounds import palette
from rounds.selectors.series import RoundCost, Series, Trace

MOST_POINTS = 400
INK = "#5c6b7a"
DURATION_COLOURS = {"waiting": "#c3ccd6", "training": "#0072b2", "rest": "#56b4e9", "aggregating": "#e69f00"}


@dataclass(frozen=True)
class Figure:
    """``json`` is what Plotly draws; ``head`` and ``rows`` are its table twin."""

    name: str
    title: str
    note: str
    json: dict[str, Any]
    head: list[str]
    rows: list[list[str]]

    @property
    def is_empty(self) -> bool:
        return not self.rows


def run_figures(series: Series, places: dict[int, int], *, rounds: int) -> list[Figure]:
    """The charts of a run in the order of the page."""
    selected = series.selected
    return [
        _metric("auc", _("AUC"), _("Hold-out customers; higher is better"), series.metrics.get("auc", []), places, rounds, selected),
        _metric("ks", _("KS"), _("Hold-out customers; higher is better"), series.metrics.get("ks", []), places, rounds, selected),
        _metric("loss", _("Log loss"), _("Validation customers; chooses the result"), series.metrics.get("loss", []), places, rounds, selected),
        _bytes(series.costs, rounds),
        _durations(series.costs, rounds),
    ]


def _metric(
    name: str, title: str, note: str, traces: list[Trace], places: dict[int, int], rounds: int, selected: int | None
) -> Figure:
    own = any(trace.own for trace in traces)
    drawn = [_line(trace, places, own_known=own, selected=selected) for trace in traces]
    numbers = sorted({number for trace in traces for number in trace.values})
    rows = [
        [str(number), *(_figure(trace.values.get(number)) for trace in traces)] for number in thinned(numbers)
    ]
    head = [_("Version"), *(label(trace) for trace in traces)]
    figure = go.Figure(drawn, layout=_layout(rounds, numbers, hover="x unified"))
    return Figure(name, title, note, figure.to_plotly_json(), head, rows)


def _line(trace: Trace, places: dict[int, int], *, own_known: bool, selected: int | None) -> go.Scatter:
    numbers = thinned(sorted(trace.values))
    pooled = trace.institution_id is None
    place = places.get(trace.institution_id or 0, 0)
    strong = pooled or trace.own
    symbols = ["star" if pooled and number == selected else "circle" for number in numbers]
    sizes = [12 if symbol == "star" else 5 if strong else 4 for symbol in symbols]
    return go.Scatter(
        x=numbers, y=[trace.values[number] for number in numbers], name=label(trace), meta="ink" if pooled else "bank",
        mode="lines+markers", opacity=1.0 if strong or not own_known else 0.65, connectgaps=True,
        line={"width": 3 if strong else 1.75, "color": INK if pooled else palette.colour(place), "dash": palette.dash(place) if not pooled else "solid"},
        marker={"size": sizes, "symbol": symbols}, hovertemplate="%{y:.4f}",
    )


def label(trace: Trace) -> str:
    return _("All banks") if trace.institution_id is None else trace.name


def _bytes(costs: list[RoundCost], rounds: int) -> Figure:
    shown = thinned(costs)
    unit, size = _unit(max((max(cost.bytes_up, cost.bytes_down) for cost in shown), default=0))
    parts = [(_("Up, from the banks"), "bytes_up", "#0072b2"), (_("Down, to the banks"), "bytes_down", "#56b4e9")]
    numbers = [cost.number for cost in shown]
    bars = [
        go.Bar(x=numbers, y=[getattr(cost, attribute) / size for cost in shown], name=name, marker={"color": colour}, hovertemplate=f"%{{y:.3~f}} {unit}")
        for name, attribute, colour in parts
    ]
    layout = _layout(rounds, numbers, hover="x unified") | {"barmode": "group", "bargap": 0.35, "yaxis": {"ticksuffix": f" {unit}", "rangemode": "tozero"}}
    rows = [[str(cost.number), *(f"{_figure(getattr(cost, attribute) / size, 3)} {unit}" for _name, attribute, _colour in parts)] for cost in shown]
    return Figure("bytes", _("Bytes per round"), _("Encoded updates up, models down"), go.Figure(bars, layout=layout).to_plotly_json(), [_("Round"), *(p[0] for p in parts)], rows)


def _durations(costs: list[RoundCost], rounds: int) -> Figure:
    shown = thinned(costs)
    parts = [
        (_("Waiting for the last bank to begin"), "waiting_s", "waiting"), (_("Training, slowest bank"), "training_s", "training"),
        (_("Uploading and waiting for the rest"), "rest_s", "rest"), (_("Aggregating"), "aggregating_s", "aggregating"),
    ]
    numbers = [cost.number for cost in shown]
    bars = [
        go.Bar(x=numbers, y=[getattr(cost, attribute) for cost in shown], name=name, marker={"color": DURATION_COLOURS[tone]}, hovertemplate="%{y:.2f} s")
        for name, attribute, tone in parts
    ]
    layout = _layout(rounds, numbers, hover="x unified") | {"barmode": "stack", "bargap": 0.35, "yaxis": {"ticksuffix": " s", "rangemode": "tozero"}}
    rows = [[str(cost.number), *(f"{_figure(getattr(cost, attribute), 2)} s" for _name, attribute, _tone in parts)] for cost in shown]
    return Figure("durations", _("Duration per round"), _("Where a round's time goes"), go.Figure(bars, layout=layout).to_plotly_json(), [_("Round"), *(p[0] for p in parts)], rows)


def _layout(rounds: int, numbers: list[int], *, hover: str) -> dict[str, Any]:
    """A short run shows its whole width from the start; a long one grows."""
    last = rounds if rounds <= 40 else max(numbers, default=1)
    first = 0 if numbers and numbers[0] == 0 else 1
    return {
        "template": "none", "showlegend": False, "hovermode": hover, "margin": {"l": 48, "r": 12, "t": 8, "b": 32},
        "xaxis": {"range": [first - 0.5, last + 0.5], "tickformat": "d", "nticks": 8}, "yaxis": {"nticks": 5},
    }


def thinned(items: list[Any], most: int = MOST_POINTS) -> list[Any]:
    """At most ``most`` items, evenly spread, with the last one always there."""
    if len(items) <= most:
        return items
    step = -(-len(items) // most)
    kept = items[::step]
    return kept if kept[-1] is items[-1] else [*kept, items[-1]]


def _unit(largest: float) -> tuple[str, float]:
    for unit, size in (("B", 1.0), ("kB", 1e3), ("MB", 1e6)):
        if largest < 1000 * size:
            return unit, size
    return "GB", 1e9


def _figure(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else number_format(round(value, digits), digits)
