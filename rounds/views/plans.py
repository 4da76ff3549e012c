"""Plans: writing one, reading one, approving in the browser, starting a run."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from clientagent.wire.errors import Refusal
from institutions.models import Role
from institutions.permissions import institution_of, require_role
from rounds import services
from rounds.forms import plan as plan_form
from rounds.forms.differences import differences
from rounds.forms.effects import by_heading, effects_of
from rounds.forms.fields import shown
from rounds.forms.pace import pace_of
from rounds.forms.plan import PlanForm
from rounds.forms.posted import document_from_post
from rounds.forms.schema import sections
from rounds.forms.yaml_text import document_from_yaml, yaml_of
from rounds.models import Plan, Project
from rounds.selectors.outlooks import alike, outlooks, unseen
from rounds.selectors.plans import decisions_on, plan_before
from rounds.selectors.scope import Audience, audience_of, plan_for, project_for, visible_runs
from rounds.views.doors import say_refusal

OPEN_SECTIONS = ("basics", "model", "training", "schedule")
"""The others show their values in one line until they are opened."""


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def plan_new(request: HttpRequest, slug: str) -> HttpResponse:
    """GET: the last plan's values or the defaults. POST ``intent``: fill from YAML, check, or freeze."""
    audience = audience_of(request.user)
    project = project_for(audience, slug)
    intent = request.POST.get("intent", "")
    form = _form(request, project, audience, intent)
    if intent == "freeze" and form.plan is not None:
        try:
            plan = services.freeze_plan(
                project=project, plan=form.plan, title=request.POST.get("title", "").strip()[:120], user=request.user
            )
            messages.success(request, _("The plan is frozen. Its hash is its identity: any change makes a new plan."))
            return redirect("rounds:plan", plan.hash)
        except Refusal as refusal:
            say_refusal(request, refusal)
    context = _form_context(request, form, project, intent)
    return render(request, "rounds/plan/form.html" if request.htmx else "rounds/plan/new.html", context)  # type: ignore[attr-defined]


def _form(request: HttpRequest, project: Project, audience: Audience, intent: str) -> PlanForm:
    if request.method == "GET":
        source = plan_before(project, request.GET.get("from", ""))
        return plan_form.form_of(json.loads(source.text) if source else plan_form.blank_document(project), project)
    if intent == "fill":
        try:
            document, changed = plan_form.adopted(document_from_yaml(request.POST.get("yaml", "")), project)
            if changed:
                messages.info(request, _("The draft's project and participants were replaced by this project's."))
            return plan_form.form_of(document, project)
        except Refusal as refusal:
            say_refusal(request, refusal)
            return plan_form.form_of(plan_form.blank_document(project), project)
    return plan_form.form_of(document_from_post(request.POST, project), project)


def _form_context(request: HttpRequest, form: PlanForm, project: Project, intent: str) -> dict[str, Any]:
    before = plan_before(project)
    plan = form.plan
    found = outlooks(project, plan) if plan else []
    return {
        "form": form,
        "project": project,
        "title": request.POST.get("title", ""),
        "yaml": request.POST.get("yaml", ""),
        "intent": intent,
        "sections": [_drawn(form, section) for section in sections()],
        "features": _features(form),
        "banks": project.participants.all(),
        "chosen": form.value("participants") or [],
        "effects": by_heading([*effects_of(plan), *pace_of(project, plan)]) if plan else [],
        "outlooks": alike(found),
        "unseen": unseen(plan, found) if plan else [],
        "refused_by": sum(not one.fits for one in found),
        "readable": yaml_of(plan) if plan else "",
        "canonical": plan.canonical_text if plan else "",
        "hash": plan.hash if plan else "",
        "before": before,
        "differences": differences(before.document, plan) if before and plan else [],
        "untouched": request.method == "GET" and before is None,
    }


def _drawn(form: PlanForm, section: Any) -> dict[str, Any]:
    switches = [
        {
            "section": switch,
            "path": f"{section.name}.{switch.name}",
            "on": form.value(f"{section.name}.{switch.name}") is not None,
            "problem": form.unsupported.get(f"{section.name}.{switch.name}", ""),
            "conflict": form.problems.get(f"{section.name}.{switch.name}", ""),
            "fields": [shown(form, spec) for spec in switch.fields],
        }
        for switch in section.switches
    ]
    fields = [shown(form, spec) for spec in section.fields]
    count = sum(1 for field in fields if field.problem) + sum(1 for switch in switches if switch["problem"] or switch["conflict"])
    on = [str(switch["section"].title) for switch in switches if switch["on"]]
    brief = " · ".join([f"{field.spec.label} {field.text}" for field in fields if not field.hidden and field.text] + on)
    is_open = bool(count) or section.name in OPEN_SECTIONS
    return {
        "section": section,
        "fields": fields,
        "switches": switches,
        "problem_count": count,
        "brief": brief,
        "is_open": is_open,
    }


def _features(form: PlanForm) -> list[dict[str, Any]]:
    found = form.value("features")
    rows = []
    for i, feature in enumerate(found if isinstance(found, list) else []):
        known = feature if isinstance(feature, dict) else {"name": str(feature)}
        problems = [text for path, text in form.problems.items() if path == f"features.{i}" or path.startswith(f"features.{i}.")]
        listed = known.get("categories")
        rows.append(
            {
                "name": known.get("name", ""),
                "kind": known.get("kind", "numeric"),
                "problem": "; ".join(problems),
                "categories": ", ".join(str(item) for item in listed) if isinstance(listed, list) else "",
            }
        )
    return rows


@require_GET
@require_role()
def plan_detail(request: HttpRequest, plan_hash: str) -> HttpResponse:
    audience = audience_of(request.user)
    plan = plan_for(audience, plan_hash)
    document, words = plan.document, decisions_on(plan, audience)
    before = plan_before(plan.project, earlier_than=plan)
    found = outlooks(plan.project, document)
    context = {
        "plan": plan,
        "document": document,
        "audience": audience,
        "effects": by_heading([*effects_of(document), *pace_of(plan.project, document)]),
        "outlooks": alike(one for one in found if audience.sees_all or one.slug == audience.institution_slug),
        "unseen": unseen(document, found) if audience.sees_all else [],
        "readable": yaml_of(document),
        "decisions": words,
        "my_word": next((word for word in words if word.own), None),
        "before": before,
        "differences": differences(before.document, document) if before else [],
        "runs": visible_runs(audience).filter(plan=plan),
        "leak_reports": plan.leak_reports.count(),
        "rehearsals": plan.rehearsals.count(),
        "rehearsed": plan.rehearsals.first(),
        "approve_command": f"fedagent plans approve {plan.hash}",
    }
    return render(request, "rounds/plan/detail.html", context)


@require_GET
@require_role()
def plan_yaml(request: HttpRequest, plan_hash: str) -> HttpResponse:
    """The plan as a file that ``simulate`` and the form take."""
    plan = plan_for(audience_of(request.user), plan_hash)
    response = HttpResponse(yaml_of(plan.document), content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="plan-{plan.hash[:12]}.yaml"'
    return response


@require_POST
@require_role(Role.OPERATOR)
def plan_approve(request: HttpRequest, plan_hash: str) -> HttpResponse:
    plan = plan_for(audience_of(request.user), plan_hash)
    institution = institution_of(request.user)
    assert institution is not None  # an operator has one
    try:
        services.approve_in_portal(plan=plan, institution=institution, user=request.user)
        messages.success(
            request, _("Noted and told to your agent. It counts only where your policy.toml says trust_portal_approvals = true.")
        )
    except Refusal as refusal:
        say_refusal(request, refusal)
    return redirect("rounds:plan", plan.hash)


@require_POST
@require_role(Role.ADMINISTRATOR)
def plan_start(request: HttpRequest, plan_hash: str) -> HttpResponse:
    plan: Plan = plan_for(audience_of(request.user), plan_hash)
    try:
        run = services.propose_run(plan=plan, user=request.user)
    except Refusal as refusal:
        say_refusal(request, refusal)
        return redirect("rounds:plan", plan.hash)
    return redirect("rounds:run", run.pk)
