"""One box for institutions, projects, runs, plans and versions."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from institutions.permissions import require_role
from institutions.tables import asked
from rounds.selectors.find import find
from rounds.selectors.scope import audience_of


@require_GET
@require_role()
def search(request: HttpRequest) -> HttpResponse:
    q = asked(request, "q")
    groups = find(q, request.user, audience_of(request.user)) if q else []
    return render(request, "rounds/search.html", {"search_query": q, "groups": groups})
