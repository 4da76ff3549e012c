"""A version's charts from its counts, each with its table twin: how it ranks, whether it means what it says, what a cut finds.

The same functions draw one version's banks and several versions side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from clientagent.wire.evaluation import (
    Curve,
    Tally,
    calibration,
    confusion,
    cumulative,
    gain_curve,
    ks_cut,
    logit_of,
    pr_curve,
    roc_curve,
)
from rounds.figures.run import INK, Figure, thinned

MOST_POINTS = 240
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CHANCES = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
GOOD, BAD = "#0072b2", "#d55e00"
STEPS = 50
"""Bars of the score distribution over the whole axis of log-odds."""


@dataclass(frozen=True)
class Line:
    """One subject of a chart. ``colour`` "ink" is the text's own; ``key`` its class in a legend."""

    name: str
    tally: Tally
    colour: str
    key: str
    dash: str = "solid"
    strong: bool = False


def ranking_figures(lines: Sequence[Line], cut: int | None = None) -> list[Figure]:
    """ROC, precision-recall, gain. ``cut`` marks a point on the strong line."""
    return [
        _curves("roc", _("ROC curve"), _("Bad customers found, good ones flagged"), lines, roc_curve, cut, _("Good flagged"),
                _("Bad found"), chance=True),
        _curves("pr", _("Precision and recall"), _("How many of the flagged are bad"), lines, pr_curve, cut, _("Bad found (recall)"),
                _("Flagged that are bad (precision)")),
        _curves("gain", _("Gain and lift"), _("Bad customers found by looking at the highest scores first"), lines, gain_curve, cut,
                _("Customers looked at"), _("Bad found"), chance=True, lift=True),
    ]  # fmt: skip


def probability_figure(lines: Sequence[Line]) -> Figure:
    """What was predicted against what came, in groups of equal size; the strong line with its 95 % intervals."""
    drawn = [_diagonal()]
    rows, most = [], 0.0
    for line in lines:
        groups = calibration(line.tally)
        most = max([most, *(max(group.predicted, group.high if line.strong else group.observed) for group in groups)])
        up = [group.high - group.observed for group in groups]
        down = [group.observed - group.low for group in groups]
        error = {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "width": 0, "thickness": 1.25}
        drawn.append(go.Scatter(
            x=[group.predicted for group in groups], y=[group.observed for group in groups], name=line.name, mode="lines+markers",
            meta=_meta(line), line=_stroke(line), marker={"size": 6 if line.strong else 4, "color": _colour(line)},
            error_y={**error, "color": _colour(line)} if line.strong else None,
            hovertemplate=_("predicted") + " %{x:.2%}<br>" + _("observed") + " %{y:.2%}",
        ))  # fmt: skip
        for group in groups:
            rows.append([line.name, _percent(group.predicted, 2), _percent(group.observed, 2),
                         f"{_percent(group.low, 2)} – {_percent(group.high, 2)}", _count(group.rows), _count(group.bad)])  # fmt: skip
    limit = min(1.0, most * 1.06 or 1.0)
    layout = _layout(_("Predicted"), _("Observed"), hover="closest") | {
        "xaxis": {**_share_axis(_("Predicted")), "range": [-0.02 * limit, limit], "tickformat": ".0%" if limit > 0.1 else ".1%"},
        "yaxis": {**_share_axis(_("Observed")), "range": [-0.02 * limit, limit], "tickformat": ".0%" if limit > 0.1 else ".1%"},
    }
    head = [_("Customers of"), _("Predicted"), _("Observed"), _("95-percent interval"), _("Rows"), _("Bad")]
    note = (
        _("Ten groups of equal size, with 95-percent intervals; on the line the score means what it says")
        if any(line.strong for line in lines)
        else _("Ten groups of equal size; on the line the score means what it says")
    )
    return _figure("calibration", _("Calibration"), note, drawn, layout, head, rows)


def separation_figure(line: Line) -> Figure:
    """The two cumulative distributions whose largest gap is KS."""
    name, title = "ks", _("Kolmogorov-Smirnov")
    note = _("Share of good and of bad customers below each score")
    curves, found = cumulative(line.tally), ks_cut(line.tally)
    if curves is None or found is None:
        return Figure(name, title, note, {}, [], [])
    ks, cut = found
    at = logit_of(cut, line.tally.bins)
    drawn = [_below(curve, word, colour) for curve, word, colour in zip(curves, (_("Good"), _("Bad")), (GOOD, BAD), strict=True)]
    heights = [float(np.interp(at, curve.x[::-1], curve.y[::-1])) for curve in curves]
    drawn.append(go.Scatter(
        x=[at, at], y=heights, mode="lines+text", meta="ink", line={"color": INK, "width": 2, "dash": "dot"},
        text=[f"KS {number_format(round(ks.value, 3), 3)}", ""], textposition="middle left", hoverinfo="skip",
    ))  # fmt: skip
    layout = _layout(_("Probability of bad"), _("Below it"), hover="x unified")
    layout |= {"xaxis": _chance_axis(line.tally), "yaxis": {**_share_axis(_("Customers below")), "range": [-0.02, 1.02]}}
    rows = []
    for chance in CHANCES:
        place = np.log(chance / (1 - chance))
        good, bad = (float(np.interp(place, curve.x[::-1], curve.y[::-1])) for curve in curves)
        rows.append([_percent(chance, 2), _percent(good, 1), _percent(bad, 1), _percent(abs(good - bad), 1)])
    head = [_("Probability of bad"), _("Good below"), _("Bad below"), _("Gap")]
    return _figure(name, title, note, drawn, layout, head, rows, (("key-strong", _("Good")), ("key-bad", _("Bad"))))


def distribution_figure(line: Line, cut: int | None) -> Figure:
    """How many good and bad customers have which score, and where the cut is."""
    tally, name, title = line.tally, "scores", _("Scores")
    note = _("Share of good and of bad customers by score; right of the line is flagged") if cut is not None else ""
    if not tally.rows:
        return Figure(name, title, note, {}, [], [])
    edges = np.linspace(0, tally.bins, STEPS + 1).astype(int)
    parts = np.add.reduceat(tally.at, edges[:-1])
    shares = parts / np.maximum(parts.sum(axis=0), 1)
    middle = [(float(a) + float(b)) / 2 * 20 / tally.bins - 10 for a, b in zip(edges, edges[1:], strict=False)]
    drawn = [
        go.Bar(x=middle, y=shares[:, side], name=word, marker={"color": colour}, opacity=0.75, hovertemplate="%{y:.1%}")
        for side, word, colour in ((0, _("Good"), GOOD), (1, _("Bad"), BAD))
    ]
    top = float(shares.max())
    if cut is not None and 0 < cut < tally.bins:
        at = logit_of(cut, tally.bins)
        drawn.append(go.Scatter(x=[at, at], y=[0, top], mode="lines", meta="ink", line={"color": INK, "width": 2, "dash": "dot"},
                                hoverinfo="skip"))  # fmt: skip
    layout = _layout(_("Probability of bad"), _("Customers"), hover="x unified")
    layout |= {"xaxis": _chance_axis(tally), "yaxis": _share_axis(_("Customers of the class")), "barmode": "overlay", "bargap": 0.05}
    rows = []
    for i, (good, bad) in enumerate(parts):
        if good + bad:
            low, high = (_chance(float(edge) * 20 / tally.bins - 10) for edge in (edges[i], edges[i + 1]))
            rows.append([f"{_percent(low, 2)} – {_percent(high, 2)}", _count(good), _count(bad), _percent(bad / (good + bad), 1)])
    head = [_("Probability of bad"), _("Good"), _("Bad"), _("Share that is bad")]
    return _figure(name, title, note, drawn, layout, head, rows, (("key-strong", _("Good")), ("key-bad", _("Bad"))))


def _curves(
    name: str, title: str, note: str, lines: Sequence[Line], curve_of: Callable[[Tally], Curve | None], cut: int | None, x: str,
    y: str, *, chance: bool = False, lift: bool = False,
) -> Figure:
    found = [(line, curve) for line in lines if (curve := curve_of(line.tally)) is not None]
    if not found:
        return Figure(name, title, note, {}, [], [])
    drawn = [_diagonal()] if chance else []
    for line, curve in found:
        points = thinned(list(zip(curve.x.tolist(), curve.y.tolist(), strict=True)), MOST_POINTS)
        drawn.append(go.Scatter(
            x=[point[0] for point in points], y=[point[1] for point in points], name=line.name, mode="lines", meta=_meta(line),
            line=_stroke(line), opacity=1.0 if line.strong or len(found) == 1 else 0.75,
            hovertemplate=f"{x} %{{x:.1%}}<br>{y} %{{y:.1%}}",
        ))  # fmt: skip
        if line.strong and cut is not None:
            drawn.append(_mark(line, curve, cut))
    layout = _layout(x, y, hover="closest")
    layout |= {"xaxis": {**_share_axis(x), "range": [-0.015, 1.01]}, "yaxis": {**_share_axis(y), "range": [-0.02, 1.02]}}
    rows = []
    for share in SHARES:
        values = [float(np.interp(share, curve.x, curve.y)) for _line, curve in found]
        cells = [_percent(value, 1) + (f" ({number_format(round(value / share, 1), 1)}×)" if lift and share else "") for value in values]
        rows.append([_percent(share), *cells])
    return _figure(name, title, note, drawn, layout, [x, *(line.name for line, _curve in found)], rows)


def _mark(line: Line, curve: Curve, cut: int) -> go.Scatter:
    """The chosen cut as a point of the curve."""
    at = int(np.searchsorted(-curve.cuts, -cut, side="right")) - 1
    flagged = confusion(line.tally.at, cut)
    text = _("the chosen cut: %(n)s flagged") % {"n": _count(flagged.flagged)}
    return go.Scatter(
        x=[float(curve.x[at])], y=[float(curve.y[at])], mode="markers", meta=_meta(line), name=_("Cut"),
        marker={"size": 10, "color": _colour(line), "symbol": "diamond"}, hovertemplate=text + "<extra></extra>",
    )  # fmt: skip


def _below(curve: Curve, word: str, colour: str) -> go.Scatter:
    points = thinned(list(zip(curve.x.tolist(), curve.y.tolist(), strict=True)), MOST_POINTS)
    return go.Scatter(
        x=[point[0] for point in points], y=[point[1] for point in points], name=word, mode="lines",
        line={"color": colour, "width": 2.5, "shape": "hv"}, hovertemplate="%{y:.1%}",
    )  # fmt: skip


def _diagonal() -> go.Scatter:
    return go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#adb5bd", "width": 1, "dash": "dot"}, hoverinfo="skip")


def _figure(
    name: str, title: str, note: str, drawn: list[Any], layout: dict[str, Any], head: list[str], rows: list[list[str]],
    legend: tuple[tuple[str, str], ...] = (),
) -> Figure:
    return Figure(name, title, note, go.Figure(drawn, layout=layout).to_plotly_json(), head, rows, legend)


def _layout(x: str, y: str, *, hover: str) -> dict[str, Any]:
    margin = {"l": 52, "r": 12, "t": 8, "b": 40}
    return {"template": "none", "showlegend": False, "hovermode": hover, "margin": margin}


def _share_axis(title: str) -> dict[str, Any]:
    return {"tickformat": ".0%", "nticks": 6, "title": {"text": title, "font": {"size": 11}, "standoff": 8}}


def _chance_axis(tally: Tally) -> dict[str, Any]:
    """Log-odds, written as the probabilities that people know, over where customers are."""
    held = np.flatnonzero(tally.at.sum(axis=1))
    low, high = (float(edge) * 20 / tally.bins - 10 for edge in (held[0], held[-1] + 1))
    ticks = [chance for chance in CHANCES if low - 0.5 <= np.log(chance / (1 - chance)) <= high + 0.5]
    return {
        "range": [low - 0.2, high + 0.2], "tickvals": [float(np.log(chance / (1 - chance))) for chance in ticks],
        "ticktext": [f"{100 * chance:g} %" for chance in ticks],
        "title": {"text": _("Probability of bad"), "font": {"size": 11}, "standoff": 8},
    }  # fmt: skip


def _chance(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def _meta(line: Line) -> str:
    return "ink" if line.colour == "ink" else "bank"


def _colour(line: Line) -> str:
    return INK if line.colour == "ink" else line.colour


def _stroke(line: Line) -> dict[str, Any]:
    return {"color": _colour(line), "width": 2.75 if line.strong else 1.5, "dash": line.dash}


def _percent(value: float, digits: int = 0) -> str:
    return f"{number_format(round(100 * float(value), digits), digits)}\N{NARROW NO-BREAK SPACE}%"


def _count(value: Any) -> str:
    return number_format(int(value), 0, force_grouping=True)
