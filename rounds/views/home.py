"""The first page of each role, and an operator's receipts."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from institutions.models import Agent, Role
from institutions.permissions import institution_of, require_role
from institutions.tables import asked, page_of
from rounds.selectors import home as selectors
from rounds.selectors.receipts import sent
from rounds.selectors.scope import Audience, audience_of, receipt_for, visible_receipts
from rounds.views.checks import checks_of

SUBJECTS = ("update", "ready", "statistics", "evaluation", "appraisal", "acknowledgement", "decision", "refusal")


@require_GET
@require_role()
def home(request: HttpRequest) -> HttpResponse:
    audience = audience_of(request.user)
    draw = {Role.ADMINISTRATOR: _administrator, Role.OPERATOR: _operator, Role.AUDITOR: _auditor}[audience.role]
    return draw(request, audience)


def _administrator(request: HttpRequest, audience: Audience) -> HttpResponse:
    runs = selectors.open_runs(audience)
    context = {
        "needs": selectors.needs_of_administrator(runs),
        "runs": runs,
        "recent": selectors.recent_runs(audience),
        "audience": audience,
        "banks": selectors.health(),
    }
    return render(request, "rounds/home/administrator.html", context)


def _operator(request: HttpRequest, audience: Audience) -> HttpResponse:
    agents = Agent.objects.filter(institution=audience.institution_id).exclude(state=Agent.State.REVOKED).prefetch_related("keys")
    context = {
        "requests": selectors.requests_for(audience),
        "runs": selectors.open_runs(audience),
        "recent": selectors.recent_runs(audience),
        "audience": audience,
        "receipts": selectors.latest_receipts(audience),
        "agents": agents,
        "institution": institution_of(request.user),
    }
    return render(request, "rounds/home/operator.html", context)


def _auditor(request: HttpRequest, audience: Audience) -> HttpResponse:
    context = {
        "chains": selectors.chain_rows(checks_of(request), audience, limit=8),
        "exceptions": selectors.latest_exceptions(audience),
        "runs": selectors.open_runs(audience),
        "recent": selectors.recent_runs(audience),
        "audience": audience,
    }
    return render(request, "rounds/home/auditor.html", context)


@require_GET
@require_role(Role.OPERATOR)
def receipts(request: HttpRequest) -> HttpResponse:
    audience = audience_of(request.user)
    subject = asked(request, "subject", among=SUBJECTS)
    rows = visible_receipts(audience)
    rows = rows.filter(subject=subject) if subject else rows
    page = page_of(request, rows)
    context = {"page": page, "receipts": sent(page), "subject": subject, "subjects": SUBJECTS}
    return render(request, "rounds/receipts.html", context)


@require_GET
@require_role()
def receipt(request: HttpRequest, receipt_id: UUID) -> HttpResponse:
    """One receipt in full: its bank's operators and those who oversee all banks open it."""
    audience = audience_of(request.user)
    found = sent([receipt_for(audience, receipt_id)])[0]
    return render(request, "rounds/receipt.html", {"sent": found, "audience": audience})
