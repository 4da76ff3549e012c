"""Pages of people: who has which seat, invitations, roles."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from clientagent.wire.errors import NotFound
from institutions import services
from institutions.forms import AcceptForm, PersonForm, RoleForm
from institutions.letters import send_invitation
from institutions.models import Invitation, Membership, Role
from institutions.permissions import require_role, role_of
from institutions.tables import asked, ordering, page_of
from institutions.views.replies import confirm, portal_url

ORDERS = {
    "person": "user__email", "role": "role", "institution": "institution__name", "since": "created_at",
    "seen": "user__last_login",
}  # fmt: skip


@require_GET
@require_role(Role.ADMINISTRATOR, Role.AUDITOR)
def people(request: HttpRequest) -> HttpResponse:
    """Everybody with a seat, and the invitations that are open."""
    query, role = asked(request, "q"), asked(request, "role", among=Role)
    order = ordering(request, ORDERS, "role")
    members = Membership.objects.select_related("user", "institution")
    if query:
        members = members.filter(Q(user__name__icontains=query) | Q(user__email__icontains=query))
    if role:
        members = members.filter(role=role)
    context = {
        "page": page_of(request, order.apply(members)), "q": query, "role_filter": role, "roles": Role.choices, "order": order,
        "invitations": Invitation.objects.filter(used_at=None, expires_at__gt=timezone.now()).select_related("institution"),
        "administers": role_of(request.user) == Role.ADMINISTRATOR,
    }  # fmt: skip
    return render(request, "institutions/people.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def invite(request: HttpRequest) -> HttpResponse:
    """Makes the link, mails it, and shows it this once."""
    form = PersonForm(request.POST or None, initial={"institution": request.GET.get("institution")})
    if request.method == "POST" and form.is_valid():
        issued = form.run(services.invite_person, by=request.user, **form.cleaned_data)
        if issued:
            link = portal_url(request) + reverse("institutions:accept", args=[issued.token])
            page = {"invitation": issued.row, "link": link, "mailed": send_invitation(issued.row, link)}
            return render(request, "institutions/invited.html", page)
    return render(request, "institutions/invite_person.html", {"form": form})


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    invitation = get_object_or_404(Invitation, pk=pk)
    return confirm(
        request, services.withdraw_invitation, invitation=invitation, ask_reason=False,
        title=_("Withdraw the invitation of %(email)s") % {"email": invitation.email},
        text=_("Its link stops working."), button=_("Withdraw"), done=_("The invitation is withdrawn."),
        back=reverse("institutions:people"),
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def change_role(request: HttpRequest, pk: int) -> HttpResponse:
    member = get_object_or_404(Membership.objects.select_related("user", "institution"), pk=pk)
    form = RoleForm(request.POST or None, member=member)
    if request.method == "POST" and form.is_valid() and form.run(
        services.change_role, member=member, by=request.user, **form.cleaned_data
    ) is not None:  # fmt: skip
        messages.success(request, _("%(person)s has another role from now on.") % {"person": member.user})
        return redirect("institutions:people")
    return render(request, "institutions/role.html", {"form": form, "member": member})


@require_http_methods(["GET", "POST"])
@require_role(Role.ADMINISTRATOR)
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    member = get_object_or_404(Membership.objects.select_related("user", "institution"), pk=pk)
    return confirm(
        request, services.remove_member, member=member, title=_("Remove %(person)s") % {"person": member.user},
        text=_("Signed out everywhere at once, and only a new invitation lets them in. What they did stays on the ledger."),
        button=_("Remove"), done=_("%(person)s is removed.") % {"person": member.user}, back=reverse("institutions:people"),
    )  # fmt: skip


@never_cache
@sensitive_post_parameters("password", "again")
@require_http_methods(["GET", "POST"])
def accept(request: HttpRequest, token: str) -> HttpResponse:
    """The invited person's page: whoever holds the link sets a name and a password and is in."""
    try:
        invitation = services.open_invitation(token)
    except NotFound:
        return render(request, "institutions/invitation_gone.html", status=404)
    form = AcceptForm(request.POST or None, email=invitation.email)
    if request.method == "POST" and form.is_valid():
        user = form.run(
            services.accept_invitation, token=token, name=form.cleaned_data["name"], password=form.cleaned_data["password"]
        )
        if user:
            login(request, user, backend="allauth.account.auth_backends.AuthenticationBackend")
            messages.success(request, _("Welcome, %(person)s.") % {"person": user})
            return redirect("/")
    return render(request, "institutions/accept.html", {"form": form, "invitation": invitation})
