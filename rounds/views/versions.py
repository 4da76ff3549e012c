"""Model versions: lineage, metrics, weights."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from institutions.permissions import require_role
from rounds.api.hot import stream_version
from rounds.figures import roc_figure
from rounds.selectors.scope import audience_of, version_for
from rounds.selectors.versions import version_page


@require_GET
@require_role()
def version_detail(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    audience = audience_of(request.user)
    page = version_page(version_for(audience, run_id, number), audience)
    roc = roc_figure(page.roc) if page.roc else None
    context = {
        "page": page,
        "version": page.version,
        "run": page.version.run,
        "audience": audience,
        "roc": roc,
        "figures": {"roc": roc.json} if roc else {},
    }
    return render(request, "rounds/version/detail.html", context)


@require_GET
@require_role()
def weights(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    version = version_for(audience_of(request.user), run_id, number)
    response = stream_version(request, version)
    name = f"{version.run.plan.project.slug}-run-{version.run.number}-v{version.number}.safetensors"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
