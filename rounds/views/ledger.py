"""The ledger explorer: chains, their entries, one entry with its body, and the button that verifies."""

from __future__ import annotations

import json

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from audit.models import Chain, Entry
from institutions.models import Role
from institutions.permissions import require_role
from institutions.saying import said
from institutions.tables import asked, page_of
from rounds.models import Run
from rounds.selectors.events import lines, may_read
from rounds.selectors.home import chain_rows
from rounds.selectors.scope import Audience, audience_of, visible_runs
from rounds.views.checks import check, checks_of

AUDITORS = (Role.ADMINISTRATOR, Role.AUDITOR)


@require_GET
@require_role(*AUDITORS)
def chains(request: HttpRequest) -> HttpResponse:
    rows = chain_rows(checks_of(request), audience_of(request.user))
    q = asked(request, "q").lower()
    rows = [row for row in rows if q in row.title.lower() or q in row.chain.name] if q else rows
    return render(request, "rounds/ledger/chains.html", {"page": page_of(request, rows), "q": q})


@require_GET
@require_role(*AUDITORS)
def chain(request: HttpRequest, chain: str) -> HttpResponse:
    found = Chain.objects.filter(name=chain).first()
    if found is None:
        raise Http404
    audience = audience_of(request.user)
    kind, q = asked(request, "kind"), asked(request, "q")
    entries = Entry.objects.filter(chain=found)
    kinds = entries.order_by("kind").values_list("kind", flat=True).distinct()
    entries = entries.filter(kind=kind) if kind else entries
    entries = entries.filter(actor__icontains=q) if q else entries
    page = page_of(request, entries.order_by("-seq").only("pk"))
    shown = lines(Entry.objects.filter(pk__in=[row.pk for row in page]).order_by("-seq"), audience)
    row = next(row for row in chain_rows(checks_of(request), audience) if row.chain.name == chain)
    context = {
        "row": row,
        "chain": found,
        "page": page,
        "lines": shown,
        "kinds": kinds,
        "kind": kind,
        "q": q,
        "run": _run_of(chain),
    }
    return render(request, "rounds/ledger/chain.html", context)


@require_GET
@require_role()
def entry(request: HttpRequest, chain: str, seq: int) -> HttpResponse:
    """One entry with its body. An operator opens entries of runs that it takes part in, about itself or about no bank."""
    audience = audience_of(request.user)
    found = Entry.objects.select_related("chain").filter(chain_id=chain, seq=seq).first()
    if found is None or not _may_open(found, audience):
        raise Http404
    line = lines(Entry.objects.filter(pk=found.pk), audience)[0]
    around = Entry.objects.filter(chain_id=chain)
    context = {
        "entry": found,
        "line": line,
        "audience": audience,
        "body": json.dumps(found.body, indent=2, ensure_ascii=False, sort_keys=True),
        "before": around.filter(seq=seq - 1).only("seq", "hash").first(),
        "after": around.filter(seq=seq + 1).only("seq").first(),
        "run": _run_of(chain),
    }
    return render(request, "rounds/ledger/entry.html", context)


def _may_open(entry: Entry, audience: Audience) -> bool:
    if audience.sees_all:
        return True
    run = _run_of(entry.chain_id)
    return run is not None and may_read(entry, audience) and visible_runs(audience).filter(pk=run.pk).exists()


def _run_of(chain: str) -> Run | None:
    kind, _slash, name = chain.partition("/")
    return Run.objects.select_related("plan__project").filter(pk=name).first() if kind == "run" and len(name) == 36 else None


@require_POST
@require_role(*AUDITORS)
def verify(request: HttpRequest, chain: str) -> HttpResponse:
    """Recompute every hash of the chain, from its first entry to its last."""
    if not Chain.objects.filter(name=chain).exists():
        raise Http404
    outcome = check(request, chain)
    if "broken" in outcome:
        messages.error(
            request,
            _("The chain does not verify. Keep this page and tell the consortium: %(what)s") % {"what": said(outcome["broken"])},
        )
    else:
        messages.success(request, _("Verified: all %(n)d entries of this chain fit together.") % {"n": outcome["seq"]})
    if request.POST.get("back") == "/":
        return redirect("rounds:home")
    return redirect("rounds:chain", chain)
