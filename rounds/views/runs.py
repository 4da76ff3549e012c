"""Runs: the list, the live page, a round's page, what an administrator may do, and the auditor's downloads."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from clientagent.wire.errors import Malformed, Refusal
from institutions.models import Institution, Role
from institutions.permissions import require_role
from institutions.tables import asked, ordering, page_of
from rounds import services
from rounds.drawing import charts_key, charts_message, parts_of
from rounds.exports import downloads
from rounds.exports.downloads import attached
from rounds.lifecycle import RunState
from rounds.models import Run
from rounds.selectors.lists import run_rows
from rounds.selectors.privacy import run_privacy
from rounds.selectors.rounds import round_page
from rounds.selectors.scope import audience_of, run_for, visible_projects
from rounds.selectors.snapshot import snapshot
from rounds.views.doors import say_refusal

ORDERS = {
    "number": "number",
    "state": "state",
    "started": "created_at",
    "ended": "ended_at",
    "project": "plan__project__name",
    "auc": "selected__validation_loss",
}
ACTIONS = [
    (
        "pause",
        gettext_lazy("Pause the run"),
        gettext_lazy("The open round may still finish; no other opens until the run is resumed."),
        gettext_lazy("Pause"),
        "btn-primary",
    ),
    (
        "resume",
        gettext_lazy("Resume the run"),
        gettext_lazy("The run goes on where it stood; the open round gets its full time anew."),
        gettext_lazy("Resume"),
        "btn-primary",
    ),
    (
        "extend",
        gettext_lazy("Extend the deadline"),
        gettext_lazy("The open round, or the stage that the run is in, gets more time."),
        gettext_lazy("Extend"),
        "btn-primary",
    ),
    (
        "drop",
        gettext_lazy("Drop a bank from this round"),
        gettext_lazy("The round goes on without it, if enough banks remain; it is asked again in the next round."),
        gettext_lazy("Drop"),
        "btn-danger",
    ),
    (
        "stop",
        gettext_lazy("Stop the run"),
        gettext_lazy("The run ends for good. Its versions and its history stay."),
        gettext_lazy("Stop the run"),
        "btn-danger",
    ),
]


@require_GET
@require_role()
def run_list(request: HttpRequest) -> HttpResponse:
    audience = audience_of(request.user)
    state, project = asked(request, "state", among=RunState), asked(request, "project")
    order = ordering(request, ORDERS, "-started")
    rows = order.apply(run_rows(audience, state=state, project=project))
    context = {
        "page": page_of(request, rows),
        "order": order,
        "state": state,
        "project": project,
        "states": list(RunState),
        "projects": visible_projects(audience),
        "audience": audience,
    }
    return render(request, "rounds/run/list.html", context)


@require_GET
@require_role()
def run_detail(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    audience = audience_of(request.user)
    number = asked(request, "round")
    asked_round = int(number) if number.isdecimal() and len(number) < 8 else None
    snap = snapshot(run_id, audience, asked_round)
    actions = [dict(zip(("name", "title", "effect", "verb", "style"), action, strict=True)) for action in ACTIONS]
    context = {
        "snap": snap,
        "parts": parts_of(snap),
        "run": snap.run,
        "audience": audience,
        "asked_round": asked_round,
        "actions": actions,
        "privacy": run_privacy(audience, snap.run),
        "charts": charts_message(snap),
        "charts_key": charts_key(snap),
        "language": get_language(),
        "verify_command": f"fedagent verify {file_name(snap.run)}.json",
    }
    return render(request, "rounds/run/detail.html", context)


@require_GET
@require_role()
def round_detail(request: HttpRequest, run_id: uuid.UUID, number: int) -> HttpResponse:
    audience = audience_of(request.user)
    return render(request, "rounds/round/detail.html", {"page": round_page(run_id, number, audience), "audience": audience})


@require_POST
@require_role(Role.ADMINISTRATOR)
def run_action(request: HttpRequest, run_id: uuid.UUID, action: str) -> HttpResponse:
    run = run_for(audience_of(request.user), run_id)
    try:
        messages.success(request, _act(request, run, action))
    except Refusal as refusal:
        say_refusal(request, refusal)
    return redirect("rounds:run", run_id)


def _act(request: HttpRequest, run: Run, action: str) -> str:
    said: dict[str, Any] = {"run": run, "user": request.user, "reason": request.POST.get("reason", "").strip()[:500]}
    match action:
        case "pause":
            services.pause_run(**said)
            return _("The run is paused.")
        case "resume":
            services.resume_run(**said)
            return _("The run goes on.")
        case "stop":
            services.stop_run(**said)
            return _("The run was stopped.")
        case "extend":
            services.extend_deadline(**said, seconds=_seconds(request.POST.get("seconds", "")))
            return _("The deadline was extended.")
        case "drop":
            bank = get_object_or_404(Institution, slug=request.POST.get("institution", ""))
            services.drop_bank(**said, institution=bank)
            return _("%(name)s was dropped from the open round.") % {"name": bank.name}
    raise Http404


def _seconds(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise Malformed(expected="a number of seconds", got=text[:20])
    return int(text)


@require_GET
@require_role(Role.ADMINISTRATOR, Role.AUDITOR)
def history_json(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    run = run_for(audience_of(request.user), run_id)
    response = JsonResponse(downloads.history(run), json_dumps_params={"ensure_ascii": False, "indent": 1})
    return attached(response, f"{file_name(run)}.json")


@require_GET
@require_role(Role.ADMINISTRATOR, Role.AUDITOR)
def history_csv(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    run = run_for(audience_of(request.user), run_id)
    response = HttpResponse(downloads.history_csv(run), content_type="text/csv; charset=utf-8")
    return attached(response, f"{file_name(run)}.csv")


def file_name(run: Run) -> str:
    return f"{run.plan.project.slug}-run-{run.number}-history"
