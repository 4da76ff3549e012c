"""A project's registry: its versions with their status, who was champion when, and the moves between."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from clientagent.wire.errors import Refusal
from institutions.models import Role
from institutions.permissions import require_role
from institutions.tables import asked, ordering, page_of
from rounds import services
from rounds.lifecycle import Status
from rounds.models import ModelVersion
from rounds.selectors.registry import registered, registry_page
from rounds.selectors.scope import audience_of, project_for, version_for
from rounds.views.doors import say_refusal

ORDERS = {
    "status": "status",
    "run": "version__run__number",
    "number": "version__number",
    "auc": "version__pooled__holdout__auc",
    "ks": "version__pooled__holdout__ks",
    "loss": "version__validation_loss",
    "registered": "registered_at",
}
MOVES: dict[str, dict[str, Any]] = {
    "register": {
        "title": gettext_lazy("Register as a candidate"),
        "effect": gettext_lazy("The version appears in the project's registry and can be promoted from there."),
        "verb": gettext_lazy("Register"),
        "icon": "plus",
        "style": "btn-primary",
    },
    "promote": {
        "title": gettext_lazy("Promote to champion"),
        "effect": gettext_lazy("The champion before it, if there is one, retires. Banks see which version is champion."),
        "verb": gettext_lazy("Promote"),
        "icon": "star",
        "style": "btn-primary",
    },
    "retire": {
        "title": gettext_lazy("Retire"),
        "effect": gettext_lazy("The version is considered no more. A champion that retires leaves the project without one."),
        "verb": gettext_lazy("Retire"),
        "icon": "package",
        "style": "btn-danger",
    },
    "reinstate": {
        "title": gettext_lazy("Make it a candidate again"),
        "effect": gettext_lazy("The version can be promoted again."),
        "verb": gettext_lazy("Reinstate"),
        "icon": "refresh",
        "style": "btn-primary",
    },
}
"""What an administrator may do to a version; ``Standing.actions`` says which of them now."""


@require_GET
@require_role()
def registry(request: HttpRequest, slug: str) -> HttpResponse:
    audience = audience_of(request.user)
    project = project_for(audience, slug)
    status = asked(request, "status", among=Status)
    order = ordering(request, ORDERS, "-registered")
    rows = registered(project, audience)
    rows = rows.filter(status=status) if status else rows
    context = {
        "registry": registry_page(project, audience, on=_day(asked(request, "on"))),
        "project": project,
        "audience": audience,
        "page": page_of(request, order.apply(rows)),
        "order": order,
        "status": status,
        "statuses": list(Status),
    }
    return render(request, "rounds/registry/list.html", context)


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


@require_POST
@require_role(Role.ADMINISTRATOR)
def version_move(request: HttpRequest, run_id: uuid.UUID, number: int, move: str) -> HttpResponse:
    version = version_for(audience_of(request.user), run_id, number)
    try:
        messages.success(request, _move(request, version, move))
    except Refusal as refusal:
        say_refusal(request, refusal)
    return redirect("rounds:version", run_id, number)


def _move(request: HttpRequest, version: ModelVersion, move: str) -> str:
    said: dict[str, Any] = {"version": version, "user": request.user, "reason": reason_of(request)}
    match move:
        case "register":
            services.register_version(**said)
            return _("The version is a candidate.")
        case "promote":
            services.promote_version(**said, instead_of=seen_champion(request.POST.get("champion", "")))
            return _("The version is the champion.")
        case "retire":
            services.retire_version(**said)
            return _("The version is retired.")
        case "reinstate":
            services.reinstate_version(**said)
            return _("The version is a candidate again.")
    raise Http404


@require_POST
@require_role(Role.ADMINISTRATOR)
def rollback(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(audience_of(request.user), slug)
    champion = seen_champion(request.POST.get("champion", ""))
    try:
        services.roll_back(project=project, user=request.user, reason=reason_of(request), instead_of=champion)
        messages.success(request, _("The champion before is champion again."))
    except Refusal as refusal:
        say_refusal(request, refusal)
    return redirect("rounds:registry", project.slug)


def seen_champion(pk: str) -> ModelVersion | None:
    """The champion that a form showed."""
    return ModelVersion.objects.filter(pk=int(pk)).first() if pk.isdecimal() and len(pk) < 18 else None


def reason_of(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:500]
