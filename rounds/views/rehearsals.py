"""A plan's rehearsals: what it cost and what it reached on a table that somebody had, before any bank trains."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from clientagent.wire.errors import Malformed, Refusal
from institutions.models import Role
from institutions.permissions import institution_of, require_role
from rounds import services
from rounds.selectors.scope import audience_of, plan_for
from rounds.services.reports import MAX_REHEARSAL_BYTES, read_rehearsal
from rounds.views.doors import say_refusal


@require_GET
@require_role()
def plan_rehearsals(request: HttpRequest, plan_hash: str) -> HttpResponse:
    audience = audience_of(request.user)
    plan = plan_for(audience, plan_hash)
    label = plan.document.label
    context = {
        "plan": plan,
        "reports": [(report, report.rehearsal) for report in plan.rehearsals.select_related("institution", "attached_by")],
        "may_attach": audience.administers or audience.institution_id is not None,
        "command": f"python manage.py simulate plan.yaml --data TABLE.csv --label {label.name} "
        f"--banks {len(plan.document.participants)} --json rehearsal.json",
    }
    return render(request, "rounds/plan/rehearsals.html", context)


@require_POST
@require_role(Role.ADMINISTRATOR, Role.OPERATOR)
def plan_rehearsal_attach(request: HttpRequest, plan_hash: str) -> HttpResponse:
    plan = plan_for(audience_of(request.user), plan_hash)
    given = request.FILES.get("result")
    try:
        if given is None:
            raise Malformed(expected="a file", got="none", action=_("Choose the file that the command wrote."))
        rehearsal = read_rehearsal(given.read(MAX_REHEARSAL_BYTES + 1))
        services.attach_rehearsal(
            plan=plan, rehearsal=rehearsal, institution=institution_of(request.user), user=request.user
        )
        messages.success(request, _("The rehearsal is attached, and its digest is on the project's ledger."))
    except Refusal as refusal:
        say_refusal(request, refusal)
    return redirect("rounds:plan-rehearsals", plan.hash)
