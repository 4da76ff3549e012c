"""Projects: list, one with its plans, runs and versions, and making one."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from clientagent.wire.errors import Refusal
from institutions.models import Institution, Role
from institutions.permissions import require_role
from institutions.saying import refusal_text
from institutions.tables import asked, ordering, page_of
from rounds import services
from rounds.figures import palette
from rounds.forms.project import BudgetForm, ProjectForm
from rounds.models import Project
from rounds.selectors.lists import plan_rows, project_rows, run_rows, version_rows
from rounds.selectors.privacy import lines
from rounds.selectors.scope import audience_of, project_for

ORDERS = {
    "name": "name",
    "purpose": "purpose",
    "banks": "bank_count",
    "plans": "plan_count",
    "runs": "run_count",
    "last": "last_run_at",
}


@require_GET
@require_role()
def project_list(request: HttpRequest) -> HttpResponse:
    audience = audience_of(request.user)
    q, purpose = asked(request, "q"), asked(request, "purpose", among=Project.Purpose.values)
    order = ordering(request, ORDERS, "name")
    rows = project_rows(audience)
    rows = rows.filter(name__icontains=q) if q else rows
    rows = rows.filter(purpose=purpose) if purpose else rows
    context = {
        "page": page_of(request, order.apply(rows)),
        "order": order,
        "q": q,
        "purpose": purpose,
        "purposes": Project.Purpose.values,
    }
    return render(request, "rounds/project/list.html", context)


@require_GET
@require_role()
def project_detail(request: HttpRequest, slug: str) -> HttpResponse:
    audience = audience_of(request.user)
    project = project_for(audience, slug)
    context = {
        "project": project,
        "audience": audience,
        "participants": project.participants.all(),
        "places": palette.places(),
        "plans": plan_rows(audience, project).order_by("-created_at")[:20],
        "runs": run_rows(audience, project=project.slug).order_by("-created_at")[:20],
        "versions": version_rows(audience, project)[:10],
        "privacy_lines": lines(audience, project),
    }
    return render(request, "rounds/project/detail.html", context)


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def project_budget(request: HttpRequest, slug: str) -> HttpResponse:
    """What each bank as a whole may lose in the project: what is held of it, and another bound with its reason."""
    audience = audience_of(request.user)
    project = project_for(audience, slug)
    form = BudgetForm(request.POST or None, initial={"epsilon": project.institution_epsilon})
    if request.method == "POST" and form.is_valid():
        form.run(services.set_budget, project=project, user=request.user, **form.cleaned_data)
        if not form.errors:
            messages.success(request, _("The budget is set, and stands on the project's ledger."))
            return redirect("rounds:project", project.slug)
    held = [line for line in lines(audience, project) if line.account.unit == "institution"]
    return render(request, "rounds/project/budget.html", {"form": form, "project": project, "held": held, "audience": audience})


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def project_new(request: HttpRequest) -> HttpResponse:
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            project = services.create_project(user=request.user, **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(
                "slug",
                _("Another project has this short name.") if refusal.got == form.cleaned_data["slug"] else refusal_text(refusal),
            )
        else:
            messages.success(request, _("The project is there. Next: a plan."))
            return redirect("rounds:project", project.slug)
    return render(request, "rounds/project/new.html", {"form": form, "has_institutions": Institution.objects.exists()})
