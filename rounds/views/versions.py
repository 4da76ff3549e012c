"""Model versions: lineage, how they score, weights."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from institutions.permissions import require_role
from institutions.tables import asked
from rounds.api.files import stream_version
from rounds.exports.bundles import stream_bundle
from rounds.exports.downloads import attached, evaluation, features_csv, file_stem
from rounds.exports.model_card import card_of
from rounds.figures import palette
from rounds.figures.evaluation import Line, distribution_figure, probability_figure, ranking_figures, separation_figure
from rounds.figures.gains import gain_figure, groups_figure
from rounds.figures.run import Figure
from rounds.selectors.appraisals import appraisals_of, group_lines
from rounds.selectors.evaluation import Chosen, Holder, Scores, choose
from rounds.selectors.features import features_page
from rounds.selectors.registry import standing_of
from rounds.selectors.scope import audience_of, version_for
from rounds.selectors.versions import version_page
from rounds.views.registry import MOVES


@require_GET
@require_role()
def version_detail(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    audience = audience_of(request.user)
    page = version_page(version_for(audience, run_id, number), audience)
    subject = page.scores.of(asked(request, "of"))
    chosen = _chosen(request, page.scores, subject) if subject and subject.tally.rows else None
    figures = _figures(page.scores, subject, chosen) if subject else []
    standing = standing_of(page.version)
    appraisals = appraisals_of(page.version, audience)
    groups = appraisals.groups_of(subject) if subject else []
    if groups and chosen:
        figures.append(groups_figure(groups, chosen.cut, appraisals.segment))
    gains = gain_figure(appraisals.gains)
    context = {
        "page": page,
        "version": page.version,
        "run": page.version.run,
        "audience": audience,
        "standing": standing,
        "moves": [(name, MOVES[name]) for name in standing.actions] if audience.administers else [],
        "subject": subject,
        "chosen": chosen,
        "appraisals": appraisals,
        "gains": gains,
        "groups": group_lines(groups, chosen.cut) if chosen else [],
        "stability": {holder.slug: appraisals.stability_of(holder) for holder in page.scores.holders},
        "figures": figures,
        "drawn": {figure.name: figure.json for figure in [*figures, gains] if not figure.is_empty},
    }
    return render(request, "rounds/version/detail.html", context)


def _chosen(request: HttpRequest, scores: Scores, subject: Holder) -> Chosen:
    budget, probability = _percentage(asked(request, "budget")), _percentage(asked(request, "cut"))
    return choose(scores, subject, budget=budget, probability=probability if asked(request, "by") == "cut" else None)


def _percentage(text: str) -> float | None:
    """A percentage as people type it, as a share; nothing for what is none."""
    try:
        value = float(text.replace(",", ".").rstrip("% "))
    except ValueError:
        return None
    return value / 100 if 0 <= value <= 100 else None


def _figures(scores: Scores, subject: Holder, chosen: Chosen | None) -> list[Figure]:
    """The subject strongly; beside all banks together the single banks that may be seen, beside a bank all together."""
    others = [holder for holder in scores.holders if holder is not subject and (subject.pooled or holder.pooled)]
    lines = [line_of(holder) for holder in others if holder.tally.rows]
    strong = line_of(subject, strong=True)
    cut = chosen.cut if chosen else None
    with_pooled = [line for line, holder in zip(lines, others, strict=False) if holder.pooled]
    return [
        *ranking_figures([*lines, strong], cut),
        separation_figure(strong),
        probability_figure([*with_pooled, strong]),
        distribution_figure(strong, cut),
    ]


def line_of(holder: Holder, *, strong: bool = False) -> Line:
    if holder.pooled:
        return Line(_("All banks"), holder.tally, "ink", "pooled", strong=strong)
    key = f"bank-{holder.place % len(palette.BANKS)}"
    return Line(holder.name, holder.tally, palette.colour(holder.place), key, palette.dash(holder.place), strong)


@require_GET
@require_role()
def version_evaluation(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    """Figures and counts as JSON: what the reader may see, to compute again elsewhere."""
    audience = audience_of(request.user)
    version = version_for(audience, run_id, number)
    response = JsonResponse(evaluation(version, audience), json_dumps_params={"ensure_ascii": False, "indent": 1})
    return attached(response, f"{file_stem(version)}-evaluation.json")


@require_GET
@require_role()
def version_features(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    version = version_for(audience_of(request.user), run_id, number)
    page = features_page(version)
    return render(request, "rounds/version/features.html", {"page": page, "version": version, "run": version.run})


@require_GET
@require_role()
def version_features_csv(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    """The same as a table to keep; of a scorecard with its points."""
    version = version_for(audience_of(request.user), run_id, number)
    response = HttpResponse(features_csv(version), content_type="text/csv; charset=utf-8")
    return attached(response, f"{file_stem(version)}-features.csv")


@require_GET
@require_role()
def card(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    audience = audience_of(request.user)
    version = version_for(audience, run_id, number)
    context = {"card": card_of(version, audience), "version": version, "run": version.run}
    return render(request, "rounds/card/page.html", context)


@require_GET
@require_role()
def bundle(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponseBase:
    """Weights and papers in one file, with the figures that the reader may see."""
    audience = audience_of(request.user)
    version = version_for(audience, run_id, number)
    return attached(stream_bundle(version, audience), f"{file_stem(version)}.zip")


@require_GET
@require_role()
def weights(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    version = version_for(audience_of(request.user), run_id, number)
    return attached(stream_version(request, version), f"{file_stem(version)}.safetensors")
