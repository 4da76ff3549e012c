"""A plan's leakage self-tests: without protection and under the plan, side by side."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from clientagent.wire import leakage as words
from clientagent.wire.errors import Malformed, Refusal
from institutions.models import Role
from institutions.permissions import institution_of, require_role
from rounds import services
from rounds.models import LeakReport
from rounds.selectors.scope import audience_of, plan_for
from rounds.services.reports import MAX_BYTES, read_leak_test
from rounds.views.doors import say_refusal

TONES: dict[words.Verdict, tuple[str, str]] = {
    "leaks": ("red", "alert-triangle"), "broken": ("red", "shield-x"), "less": ("yellow", "alert-triangle"),
    "hidden": ("green", "shield-check"), "nothing": ("secondary", "help-circle"),
}  # fmt: skip


@require_GET
@require_role()
def plan_leakage(request: HttpRequest, plan_hash: str) -> HttpResponse:
    audience = audience_of(request.user)
    plan = plan_for(audience, plan_hash)
    reports = plan.leak_reports.select_related("institution", "attached_by")
    context = {
        "plan": plan,
        "reports": [_drawn(report) for report in reports],
        "protections": [_(sentence) % values for sentence, values in words.protections(plan.document)],
        "may_attach": audience.administers or audience.institution_id is not None,
        "command": f"fedagent leaktest --plan {plan.hash} --json > leaktest.json",
        "unprotected": _(words.UNPROTECTED),
        "caveat": _(words.CAVEAT),
    }
    return render(request, "rounds/plan/leakage.html", context)


@require_POST
@require_role(Role.ADMINISTRATOR, Role.OPERATOR)
def plan_leakage_attach(request: HttpRequest, plan_hash: str) -> HttpResponse:
    plan = plan_for(audience_of(request.user), plan_hash)
    given = request.FILES.get("result")
    try:
        if given is None:
            raise Malformed(expected="a file", got="none", action=_("Choose the file that the command wrote."))
        test = read_leak_test(given.read(MAX_BYTES + 1))
        services.attach_leak_test(plan=plan, test=test, institution=institution_of(request.user), user=request.user)
        messages.success(request, _("The self-test is attached, and its digest is on the project's ledger."))
    except Refusal as refusal:
        say_refusal(request, refusal)
    return redirect("rounds:plan-leakage", plan.hash)


def _drawn(report: LeakReport) -> dict[str, Any]:
    test = report.test
    return {"report": report, "test": test, "rows": [_row(one, test) for one in test.findings]}


def _row(one: words.Finding, test: words.LeakTest) -> dict[str, Any]:
    verdict = one.verdict(test.stated_epsilon)
    tone, icon = TONES[verdict]
    return {
        "attack": _(words.ATTACKS[one.attack]), "measure": _(words.MEASURES[one.attack]), "source": words.SOURCES[one.attack],
        "verdict": _(words.VERDICTS[verdict]), "tone": tone, "icon": icon, "finding": one,
    }  # fmt: skip
