"""What an administrator does about a privacy ledger that is locked."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from clientagent.wire.errors import Refusal
from institutions.models import Role
from institutions.permissions import require_role
from rounds import services
from rounds.models import PrivacyAccount
from rounds.selectors.scope import audience_of, project_for
from rounds.views.doors import say_refusal


@require_POST
@require_role(Role.ADMINISTRATOR)
def reconcile(request: HttpRequest, slug: str, account: int) -> HttpResponse:
    project = project_for(audience_of(request.user), slug)
    row = get_object_or_404(PrivacyAccount.objects.filter(releases__run__plan__project=project).distinct(), pk=account)
    try:
        services.confirm_reconciliation(account=row, user=request.user, reason=request.POST.get("reason", ""))
        messages.success(request, _("Confirmed. The bank's next statement begins anew from its reconciled ledger."))
    except Refusal as refusal:
        say_refusal(request, refusal)
    return redirect("rounds:project", project.slug)
