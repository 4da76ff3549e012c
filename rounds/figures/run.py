"""A run's charts as Plotly figures, each with the table that says the same in words and numbers.

Figures carry no theme: the page's script draws ``meta: "ink"`` in the text colour and lays grid lines for light or dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from rounds.figures import palette
from rounds.selectors.series import RoundCost, Series, Trace

MOST_POINTS = 400
INK = "#5c6b7a"


@dataclass(frozen=True)
class Figure:
    """``json`` is what Plotly draws; ``head`` and ``rows`` are its table twin."""

    name: str
    title: str
    note: str
    json: dict[str, Any]
    head: list[str]
    rows: list[list[str]]
    legend: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.rows


def run_figures(series: Series, places: dict[int, int], *, rounds: int) -> list[Figure]:
    """The charts of a run in the order of the page."""
    selected = series.selected
    return [
        _metric(
            "auc", _("AUC"), _("Hold-out customers; higher is better"), series.metrics.get("auc", []), places, rounds, selected
        ),
        _metric("ks", _("KS"), _("Hold-out customers; higher is better"), series.metrics.get("ks", []), places, rounds, selected),
        _metric(
            "loss",
            _("Log loss"),
            _("Validation customers; chooses the result"),
            series.metrics.get("loss", []),
            places,
            rounds,
            selected,
        ),
        _bytes(series.costs, rounds),
        _durations(series.costs, rounds),
    ]


def _metric(
    name: str, title: str, note: str, traces: list[Trace], places: dict[int, int], rounds: int, selected: int | None
) -> Figure:
    own = any(trace.own for trace in traces)
    drawn = [_line(trace, places, own_known=own, selected=selected) for trace in traces]
    numbers = sorted({number for trace in traces for number in trace.values})
    rows = [[str(number), *(figure_text(trace.values.get(number)) for trace in traces)] for number in thinned(numbers)]
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
        x=numbers,
        y=[trace.values[number] for number in numbers],
        name=label(trace),
        meta="ink" if pooled else "bank",
        mode="lines+markers",
        opacity=1.0 if strong or not own_known else 0.65,
        connectgaps=True,
        line={
            "width": 3 if strong else 1.75,
            "color": INK if pooled else palette.colour(place),
            "dash": palette.dash(place) if not pooled else "solid",
        },
        marker={"size": sizes, "symbol": symbols},
        hovertemplate="%{y:.4f}",
    )


def label(trace: Trace) -> str:
    return _("All banks") if trace.institution_id is None else trace.name


@dataclass(frozen=True)
class Part:
    """One kind of bar: its name, where its figure stands in a ``RoundCost``, its colour and its class in the legend."""

    name: str
    attribute: str
    colour: str
    key: str


def _bytes(costs: list[RoundCost], rounds: int) -> Figure:
    parts = [
        Part(_("Up, from the banks"), "bytes_up", "#0072b2", "key-strong"),
        Part(_("Down, to the banks"), "bytes_down", "#56b4e9", "key-light"),
    ]
    unit, size = _unit(max((max(cost.bytes_up, cost.bytes_down) for cost in costs), default=0))
    bars = Bars("bytes", _("Bytes per round"), _("Encoded updates up, models down"), parts, unit, size, "group")
    return _bar_chart(bars, costs, rounds)


def _durations(costs: list[RoundCost], rounds: int) -> Figure:
    parts = [
        Part(_("Until the last bank began"), "waiting_s", "#aeb9c4", "key-calm"),
        Part(_("Training, slowest bank"), "training_s", "#0072b2", "key-strong"),
        Part(_("Uploading, waiting for the rest"), "rest_s", "#56b4e9", "key-light"),
        Part(_("Aggregating"), "aggregating_s", "#e69f00", "key-warm"),
    ]
    bars = Bars("durations", _("Duration per round"), _("Where a round's time goes"), parts, "s", 1.0, "stack")
    return _bar_chart(bars, costs, rounds)


@dataclass(frozen=True)
class Bars:
    name: str
    title: str
    note: str
    parts: list[Part]
    unit: str
    size: float
    mode: str


def _bar_chart(bars: Bars, costs: list[RoundCost], rounds: int) -> Figure:
    shown = thinned(costs)
    numbers = [cost.number for cost in shown]
    drawn = [
        go.Bar(
            x=numbers,
            y=[getattr(cost, part.attribute) / bars.size for cost in shown],
            name=part.name,
            marker={"color": part.colour},
            hovertemplate=f"%{{y:.3~f}} {bars.unit}",
        )
        for part in bars.parts
    ]
    axis = {"ticksuffix": f" {bars.unit}", "rangemode": "tozero", "nticks": 5}
    layout = _layout(rounds, numbers, hover="x unified") | {"barmode": bars.mode, "bargap": 0.35, "yaxis": axis}
    rows = [
        [str(cost.number), *(f"{figure_text(getattr(cost, part.attribute) / bars.size, 2)} {bars.unit}" for part in bars.parts)]
        for cost in shown
    ]
    head = [_("Round"), *(part.name for part in bars.parts)]
    legend = tuple((part.key, part.name) for part in bars.parts)
    return Figure(bars.name, bars.title, bars.note, go.Figure(drawn, layout=layout).to_plotly_json(), head, rows, legend)


def _layout(rounds: int, numbers: list[int], *, hover: str) -> dict[str, Any]:
    """A short run shows its whole width from the start; a long one grows."""
    last = rounds if rounds <= 40 else max(numbers, default=1)
    first = 0 if numbers and numbers[0] == 0 else 1
    return {
        "template": "none",
        "showlegend": False,
        "hovermode": hover,
        "margin": {"l": 44, "r": 8, "t": 8, "b": 28},
        "xaxis": {"range": [first - 0.5, last + 0.5], "tickformat": "d", "nticks": 8},
        "yaxis": {"nticks": 5},
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


def figure_text(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else number_format(round(value, digits), digits)
