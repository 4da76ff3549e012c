"""Pages of institutions: the list, one institution, inviting, suspending, reinstating, and the agent's wheel."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from institutions import services
from institutions.forms import InstitutionForm
from institutions.happenings import happening
from institutions.models import Institution, Role
from institutions.permissions import institution_of, require_role, role_of
from institutions.selectors import history_of, institution_for, institutions_table
from institutions.tables import asked, ordering, page_of
from institutions.views.replies import confirm
from institutions.wheel import agent_wheel

ORDERS = {"name": "name", "state": "state", "members": "member_count", "agents": "agent_count", "since": "created_at"}


@require_GET
@require_role()
def listing(request: HttpRequest) -> HttpResponse:
    """All institutions that the reader may see, filtered and sorted by the address."""
    query, state = asked(request, "q"), asked(request, "state", among=Institution.State)
    order = ordering(request, ORDERS, "name")
    rows = institutions_table(request.user)
    total = rows.count()
    if query:
        rows = rows.filter(Q(name__icontains=query) | Q(slug__icontains=query))
    if state:
        rows = rows.filter(state=state)
    context = {
        "page": page_of(request, order.apply(rows)), "total": total, "q": query, "state_filter": state, "order": order,
        "states": list(Institution.State),
    }  # fmt: skip
    return render(request, "institutions/list.html", context)


@require_GET
@require_role(Role.OPERATOR)
def mine(request: HttpRequest) -> HttpResponse:
    own = institution_of(request.user)
    if own is None:
        raise Http404
    return redirect("institutions:detail", own.slug)


@require_GET
@require_role()
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    """Members, agents with their keys, enrolment and history of one institution."""
    institution = institution_for(request.user, slug)
    role = role_of(request.user)
    now = timezone.now()
    page = {
        "institution": institution,
        "members": institution.members.select_related("user"),
        "invitations": institution.invitations.filter(used_at=None, expires_at__gt=now),
        "agents": institution.agents.prefetch_related("keys"),
        "codes": institution.enrolment_codes.filter(used_at=None, expires_at__gt=now),
        "history": [happening(entry) for entry in history_of(institution, limit=30)],
        "administers": role == Role.ADMINISTRATOR,
        "may_enrol": role in (Role.ADMINISTRATOR, Role.OPERATOR) and not institution.is_suspended,
    }
    return render(request, "institutions/detail.html", page)


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def invite(request: HttpRequest) -> HttpResponse:
    form = InstitutionForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (
        made := form.run(services.invite_institution, by=request.user, **form.cleaned_data)
    ):  # fmt: skip
        messages.success(request, _("%(name)s is invited. Next: a person who operates its agent.") % {"name": made})
        return redirect("institutions:detail", made.slug)
    return render(request, "institutions/invite.html", {"form": form})


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def suspend(request: HttpRequest, slug: str) -> HttpResponse:
    institution = institution_for(request.user, slug)
    return confirm(
        request, services.suspend_institution, institution=institution,
        title=_("Suspend %(name)s") % {"name": institution},
        text=_("From the next request on its agents are refused. Runs go on without it as far as their quorum allows."),
        button=_("Suspend"), done=_("%(name)s is suspended.") % {"name": institution},
        back=reverse("institutions:detail", args=[slug]),
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def reinstate(request: HttpRequest, slug: str) -> HttpResponse:
    institution = institution_for(request.user, slug)
    return confirm(
        request, services.reinstate_institution, institution=institution,
        title=_("Reinstate %(name)s") % {"name": institution},
        text=_("Its approved agents may speak again from the next request on."), tone="primary",
        button=_("Reinstate"), done=_("%(name)s takes part again.") % {"name": institution},
        back=reverse("institutions:detail", args=[slug]),
    )  # fmt: skip


@require_GET
def wheel(request: HttpRequest, name: str) -> HttpResponse:
    """The agent, for pip at a bank: no secret, so nobody has to sign in for it."""
    found = agent_wheel()
    if found is None or found.name != name:
        raise Http404
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(found.path.read_bytes(), content_type="application/octet-stream", headers=headers)
