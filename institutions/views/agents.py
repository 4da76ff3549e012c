"""Pages of agents: a code to enrol by, the comparison of fingerprints, refusing, revoking."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from institutions import services
from institutions.forms import FingerprintForm, PlainForm
from institutions.models import Agent, AgentKey, Role
from institutions.permissions import require_role, role_of
from institutions.portal_key import portal_key
from institutions.selectors import agent_for, institution_for, key_for
from institutions.views.replies import confirm, portal_url
from institutions.wheel import agent_wheel


@never_cache
@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR, Role.OPERATOR)
def issue_code(request: HttpRequest, slug: str) -> HttpResponse:
    """Explains enrolment; on POST shows a fresh code, this once, with the three commands."""
    institution = institution_for(request.user, slug)
    form = PlainForm(request.POST or None)
    issued = None
    if request.method == "POST":
        issued = form.run(services.issue_enrolment_code, institution=institution, by=request.user)
    url, wheel = portal_url(request), agent_wheel()
    page = {
        "institution": institution, "form": form, "issued": issued, "wheel": wheel, "portal": url,
        "root_fingerprint": portal_key().fingerprint,
        "wheel_url": url + reverse("agent-wheel", args=[wheel.name]) if wheel else "",
    }
    return render(request, "institutions/code.html", page)


@require_http_methods(["GET", "POST"])
@require_role()
def agent(request: HttpRequest, agent_id: uuid.UUID) -> HttpResponse:
    """One agent. An administrator compares fingerprints here and approves."""
    found = agent_for(request.user, agent_id)
    administers = role_of(request.user) == Role.ADMINISTRATOR
    waiting = found.keys.filter(state=AgentKey.State.PENDING).first() if found.state == Agent.State.PENDING else None
    form = None
    if administers and waiting:
        form = FingerprintForm(request.POST or None, expected=waiting.fingerprint)
    if request.method == "POST" and not administers:
        raise PermissionDenied
    if request.method == "POST" and form and form.is_valid() and form.run(
        services.approve_agent, agent=found, fingerprint=form.cleaned_data["fingerprint"], by=request.user
    ) is not None:  # fmt: skip
        messages.success(request, _("%(agent)s may speak for %(bank)s.") % {"agent": found, "bank": found.institution})
        return redirect("institutions:detail", found.institution.slug)
    page = {"agent": found, "institution": found.institution, "keys": found.keys.all(), "form": form, "waiting": waiting}
    return render(request, "institutions/agent.html", page | {"administers": administers})


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def refuse(request: HttpRequest, agent_id: uuid.UUID) -> HttpResponse:
    found = agent_for(request.user, agent_id)
    return confirm(
        request, services.refuse_agent, agent=found, title=_("Refuse %(agent)s") % {"agent": found},
        text=_("Its key will never work. The bank can enrol again with a new code."),
        button=_("Refuse"), done=_("%(agent)s is refused.") % {"agent": found},
        back=reverse("institutions:detail", args=[found.institution.slug]),
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR, Role.OPERATOR)
def revoke(request: HttpRequest, fingerprint: str) -> HttpResponse:
    """An operator may revoke a key of the own bank: a stolen laptop does not wait for the consortium."""
    key = key_for(request.user, fingerprint)
    return confirm(
        request, services.revoke_key, key=key, title=_("Revoke the key %(key)s") % {"key": key.short_fingerprint},
        text=_("From the next request on it is refused. An agent without another key is revoked with it and must enrol anew."),
        button=_("Revoke"), done=_("The key is revoked."), back=reverse("institutions:agent", args=[key.agent_id]),
    )  # fmt: skip
