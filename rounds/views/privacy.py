"""What was promised, spent and remains of privacy, for whoever checks it; and what an administrator does about a locked ledger."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from clientagent.wire.errors import Refusal
from institutions.models import Role
from institutions.permissions import require_role
from institutions.tables import asked
from rounds import services
from rounds.selectors import spending
from rounds.selectors.outlooks import accounts_of
from rounds.selectors.scope import audience_of, project_for, run_for, visible_projects
from rounds.views.doors import say_refusal


@require_GET
@require_role()
def privacy(request: HttpRequest) -> HttpResponse:
    """Every project and run: promised, stated, remaining."""
    audience = audience_of(request.user)
    projects = list(visible_projects(audience).order_by("name").values_list("slug", "name"))
    slug = asked(request, "project", among=[slug for slug, _name in projects])
    context = {"found": spending.overview(audience, slug), "projects": projects, "slug": slug, "audience": audience}
    return render(request, "rounds/privacy/overview.html", context)


@require_GET
@require_role()
def run_privacy(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """One run, bank by bank: stated beside computed."""
    audience = audience_of(request.user)
    run = run_for(audience, run_id)
    found = spending.run_spending(audience, run)
    sentences = [_(row.reason) % row.values for row in found.left_out]
    context = {"found": found, "run": run, "audience": audience, "sentences": sentences}
    return render(request, "rounds/privacy/evidence.html", context)


@require_POST
@require_role(Role.ADMINISTRATOR)
def reconcile(request: HttpRequest, slug: str, account: int) -> HttpResponse:
    project = project_for(audience_of(request.user), slug)
    row = next((one for one in accounts_of(project) if one.pk == account), None)
    if row is None:
        raise Http404
    try:
        services.confirm_reconciliation(account=row, user=request.user, reason=request.POST.get("reason", ""))
        messages.success(request, _("Confirmed. The bank's next statement begins anew from its reconciled ledger."))
    except Refusal as refusal:
        say_refusal(request, refusal)
    return redirect("rounds:project", project.slug)
