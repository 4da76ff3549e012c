"""Versions and runs side by side."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from institutions.permissions import require_role
from institutions.tables import asked
from rounds.figures import palette
from rounds.figures.comparison import learning_figure
from rounds.figures.evaluation import Line, probability_figure, ranking_figures
from rounds.figures.run import Figure
from rounds.selectors.compare import Comparison, compare, parse_keys
from rounds.selectors.lists import project_rows
from rounds.selectors.registry import registered
from rounds.selectors.scope import audience_of, project_for


@require_GET
@require_role()
def comparison(request: HttpRequest) -> HttpResponse:
    """``v=RUN:NUMBER`` for each version, ``of`` the bank whose customers are compared; ``project`` offers what there is."""
    audience = audience_of(request.user)
    found = compare(parse_keys(request.GET.getlist("v")), audience, asked(request, "of"))
    slug = found.project.slug if found.project else asked(request, "project")
    project = project_for(audience, slug) if slug else None
    figures = _figures(found) if len(found.columns) > 1 else []
    context = {
        "comparison": found,
        "project": project,
        "offered": registered(project, audience).order_by("-registered_at", "-pk")[:50] if project else [],
        "chosen": {column.version.pk for column in found.columns},
        "projects": project_rows(audience).order_by("name"),
        "audience": audience,
        "figures": figures,
        "drawn": {figure.name: figure.json for figure in figures if not figure.is_empty},
    }
    return render(request, "rounds/compare/detail.html", context)


def _figures(found: Comparison) -> list[Figure]:
    lines = [
        Line(column.name, column.holder.tally, column.colour, column.key, palette.dash(column.place), strong=False)
        for column in found.columns
        if column.holder and column.holder.tally.rows
    ]
    by_run = list({column.version.run_id: column for column in reversed(found.columns)}.values())[::-1]
    return [*ranking_figures(lines), probability_figure(lines), learning_figure(by_run, _("AUC by version"), found.subject)]
