"""What banks gain and how groups of customers fare, as charts with their table twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from clientagent.wire.evaluation import confusion
from clientagent.wire.messages import Estimate
from rounds.figures import palette
from rounds.figures.run import INK, Figure, figure_text
from rounds.selectors.appraisals import BankGain, Group


def gain_figure(gains: Sequence[BankGain]) -> Figure:
    """Each bank's difference of AUC, federated (and personal) minus local, with its 95 % interval; zero is no gain."""
    title = _("What each bank gains")
    note = _("AUC on its own hold-out customers, minus that of a model of its own; right of zero is a gain")
    known = [gain for gain in gains if gain.gain and gain.gain.federated_gain]
    if not known:
        return Figure("gains", title, note, {}, [], [])
    drawn: list[Any] = []
    for bank in reversed(known):
        assert bank.gain is not None
        for found, symbol, word in (
            (bank.gain.federated_gain, "circle", _("federated")), (bank.gain.personal_gain, "diamond-open", _("personal"))
        ):  # fmt: skip
            if found is not None:
                drawn.append(_interval(bank, found, symbol, word))
    span = [0.0, *(edge for bank in known for one in _both(bank) for edge in (one.low, one.high))]
    width = max(max(span) - min(span), 0.01)
    names = [bank.name for bank in reversed(known)]
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": INK, "width": 1.5, "dash": "dot"}}
    layout = {
        "template": "none", "showlegend": False, "hovermode": "closest", "margin": {"l": 110, "r": 16, "t": 8, "b": 40},
        "shapes": [zero],
        "xaxis": {"range": [min(span) - 0.08 * width, max(span) + 0.08 * width], "nticks": 6, "tickformat": "+.3f", "showgrid": True,
                  "title": {"text": _("Difference of AUC"), "font": {"size": 11}, "standoff": 8}},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names, "showgrid": False},
    }  # fmt: skip
    head = [_("Bank"), _("Local"), _("Federated"), _("Difference"), _("Personal"), _("Difference")]
    rows = [_row(bank) for bank in known]
    return Figure("gains", title, note, go.Figure(drawn, layout=layout).to_plotly_json(), head, rows)


def _both(bank: BankGain) -> list[Estimate]:
    assert bank.gain is not None
    return [found for found in (bank.gain.federated_gain, bank.gain.personal_gain) if found is not None]


def _interval(bank: BankGain, found: Estimate, symbol: str, word: str) -> go.Scatter:
    colour = palette.colour(bank.place)
    error = {"type": "data", "symmetric": False, "array": [found.high - found.value], "arrayminus": [found.value - found.low],
             "color": colour, "thickness": 2, "width": 4}  # fmt: skip
    return go.Scatter(
        x=[found.value], y=[bank.name], name=word, mode="markers", error_x=error,
        marker={"size": 10, "symbol": symbol, "color": colour, "line": {"color": colour, "width": 2}},
        hovertemplate=f"{word} %{{x:+.4f}}<extra></extra>",
    )  # fmt: skip


def _row(bank: BankGain) -> list[str]:
    gain = bank.gain
    assert gain is not None
    return [
        bank.name, _value(gain.local.auc), _value(gain.federated.auc), _span(gain.federated_gain),
        _value(gain.personal.auc if gain.personal else None), _span(gain.personal_gain),
    ]  # fmt: skip


def _value(found: Estimate | None) -> str:
    return figure_text(found.value if found else None)


def _span(found: Estimate | None) -> str:
    return f"{found.value:+.4f} ({found.low:+.4f} – {found.high:+.4f})" if found else "–"


def groups_figure(groups: Sequence[Group], cut: int, segment: str) -> Figure:
    """Per group at the chosen cut: how many are looked at, how many of the bad are found, how many of the good troubled."""
    title = _("Groups by %(segment)s") % {"segment": segment}
    note = _("At the chosen cut: the same shares for all would be bars of equal height")
    found = [(group_name(group), confusion(group.tally.at, cut), group) for group in groups if group.tally.rows]
    if not found:
        return Figure("groups", title, note, {}, [], [])
    names = [name for name, _c, _g in found]
    parts = [
        (_("Flagged"), "#8c8c8c", "key-calm-dark", [c.flagged_share for _n, c, _g in found]),
        (_("Bad found"), "#d55e00", "key-bad", [c.recall for _n, c, _g in found]),
        (_("Good flagged"), "#0072b2", "key-strong", [c.false_positive_rate for _n, c, _g in found]),
    ]
    drawn = [
        go.Bar(x=names, y=values, name=word, marker={"color": colour}, hovertemplate="%{y:.1%}")
        for word, colour, _key, values in parts
    ]
    layout = {
        "template": "none", "showlegend": False, "hovermode": "x unified", "barmode": "group", "bargap": 0.3,
        "margin": {"l": 52, "r": 12, "t": 8, "b": 40}, "xaxis": {"type": "category"},
        "yaxis": {"tickformat": ".0%", "nticks": 6, "rangemode": "tozero"},
    }  # fmt: skip
    head = [_("Group"), _("Rows"), _("Bad"), *(word for word, *_rest in parts)]
    rows = [
        [name, number_format(c.rows, 0, force_grouping=True), _percent(group.tally.bad / c.rows),
         *(_percent(value) for value in (c.flagged_share, c.recall, c.false_positive_rate))]
        for name, c, group in found
    ]  # fmt: skip
    legend = tuple((key, word) for word, _colour, key, _values in parts)
    return Figure("groups", title, note, go.Figure(drawn, layout=layout).to_plotly_json(), head, rows, legend)


def group_name(group: Group) -> str:
    return group.name or _("all others")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{number_format(round(100 * value, 1), 1)}\N{NARROW NO-BREAK SPACE}%"
