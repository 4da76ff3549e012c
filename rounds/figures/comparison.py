"""How runs came to their results: one figure by version, a line a run."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from django.utils.translation import gettext as _

from rounds.figures.run import Figure, figure_text, thinned
from rounds.models import Evaluation, ModelVersion, Run
from rounds.selectors.compare import Column


def learning_figure(columns: Sequence[Column], title: str, subject: str) -> Figure:
    """Hold-out AUC by version number: of all banks, or of the bank with this slug."""
    drawn: list[go.Scatter] = []
    rows: dict[int, list[str]] = {}
    for place, column in enumerate(columns):
        values = _values(column.version.run, subject)
        numbers = thinned(sorted(values))
        drawn.append(go.Scatter(
            x=numbers, y=[values[number] for number in numbers], name=_("Run %(n)s") % {"n": column.version.run.number}, mode="lines",
            line={"color": column.colour, "width": 2}, hovertemplate="%{y:.4f}",
        ))  # fmt: skip
        for number in thinned(numbers, 40):
            rows.setdefault(number, ["–"] * len(columns))[place] = figure_text(values[number])
    head = [_("Version"), *(_("Run %(n)s") % {"n": column.version.run.number} for column in columns)]
    axis = {"tickformat": "d", "nticks": 8, "title": {"text": _("Version"), "font": {"size": 11}, "standoff": 8}}
    layout = {"template": "none", "showlegend": False, "hovermode": "x unified", "margin": {"l": 52, "r": 12, "t": 8, "b": 40},
              "xaxis": axis, "yaxis": {"nticks": 5}}  # fmt: skip
    table = [[str(number), *cells] for number, cells in sorted(rows.items())]
    note = _("Hold-out customers, from the first version to the last")
    return Figure("learning", title, note, go.Figure(drawn, layout=layout).to_plotly_json(), head, table)


def _values(run: Run, subject: str) -> dict[int, float]:
    if subject:
        own = Evaluation.objects.filter(version__run=run, institution__slug=subject)
        found = list(own.values_list("version__number", "holdout__auc"))
    else:
        pooled = ModelVersion.objects.filter(run=run, pooled__isnull=False)
        found = list(pooled.values_list("number", "pooled__holdout__auc"))
    return {number: value for number, value in found if value is not None}
