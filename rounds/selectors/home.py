"""What each person's first page shows: what needs them, what runs, how the consortium is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from audit.models import Chain
from institutions.models import Agent, Institution
from institutions.saying import said
from institutions.selectors import pending_agents
from rounds.figures import palette
from rounds.lifecycle import RUN_OPEN, RunState
from rounds.models import Plan, PlanDecision, PortalApproval, Project, Receipt, Run, Seat
from rounds.selectors.events import Line, exceptions
from rounds.selectors.grid import presence_of
from rounds.selectors.lists import run_rows
from rounds.selectors.receipts import Sent, sent
from rounds.selectors.scope import Audience, visible_plans


@dataclass(frozen=True)
class Need:
    """One thing that waits for this person. ``key`` names it in the page."""

    icon: str
    tone: str
    title: str
    text: str
    url: str
    action: str
    since: datetime | None = None


@dataclass(frozen=True)
class Bank:
    """An institution in the consortium's health row."""

    institution: Institution
    place: int
    presence: str
    seen: datetime | None


def open_runs(audience: Audience) -> list[Run]:
    return list(run_rows(audience).filter(state__in=RUN_OPEN).order_by("-created_at"))


def recent_runs(audience: Audience, limit: int = 6) -> list[Run]:
    return list(run_rows(audience).exclude(state__in=RUN_OPEN).order_by("-created_at")[:limit])


def health(now: datetime | None = None) -> list[Bank]:
    """Every institution, with whether its agents are there."""
    now = now or timezone.now()
    places = palette.places()
    approved = Q(agents__state=Agent.State.APPROVED)
    rows = Institution.objects.annotate(
        agent_count=Count("agents", filter=approved), seen=Max("agents__last_seen_at", filter=approved)
    )
    return [Bank(row, places.get(row.pk, 0), presence_of(row.seen, now), row.seen) for row in rows]


def needs_of_administrator(runs: list[Run]) -> list[Need]:
    """Enrolments to approve, plans not yet approved, paused runs, blocked banks; or the first steps."""
    needs = [
        Need(
            "fingerprint",
            "orange",
            _("Compare the fingerprint of an agent of %(name)s") % {"name": agent.institution.name},
            _("It introduced itself and may do nothing until you approve it."),
            reverse("institutions:agent", args=[agent.pk]),
            _("Compare fingerprints"),
            agent.created_at,
        )
        for agent in pending_agents()
    ]
    needs += [need for run in runs if (need := _need_of_run(run))]
    return needs or _first_steps()


def _need_of_run(run: Run) -> Need | None:
    url, name = (
        reverse("rounds:run", args=[run.pk]),
        _("%(project)s, run %(n)d") % {"project": run.plan.project.name, "n": run.number},
    )
    if run.state == RunState.PAUSED:
        return Need("player-pause", "orange", _("%(run)s is paused") % {"run": name}, said(run.reason), url, _("Look"))
    if run.state == RunState.PROPOSED:
        missing = run.seats.filter(state__in=(Seat.State.INVITED, Seat.State.REFUSED)).values_list("institution__name", flat=True)
        text = _("Waiting for %(names)s") % {"names": ", ".join(missing)} if missing else ""
        return Need("hourglass", "orange", _("%(run)s waits for approvals") % {"run": name}, text, url, _("Look"), run.created_at)
    away = [bank for bank in health() if bank.presence != "online"] if run.state in (RunState.RUNNING, RunState.PREPARING) else []
    seated = (
        set(run.seats.filter(state__in=("seated", "approved", "counted")).values_list("institution_id", flat=True))
        if away
        else set()
    )
    blocked = [bank for bank in away if bank.institution.pk in seated]
    if not blocked:
        return None
    names = ", ".join(bank.institution.name for bank in blocked)
    return Need(
        "wifi-off",
        "orange",
        ngettext("%(names)s is away", "%(names)s are away", len(blocked)) % {"names": names},
        _("%(run)s waits for it.") % {"run": name},
        url,
        _("Look"),
        blocked[0].seen,
    )


def _first_steps() -> list[Need]:
    """Nothing waits; somebody new is led to the next step."""
    if not Institution.objects.exists():
        return [
            Need(
                "building-bank",
                "blue",
                _("Invite the first institution"),
                _("A consortium begins with its banks; each then installs an agent."),
                reverse("institutions:invite"),
                _("Invite"),
            )
        ]
    if not Agent.objects.filter(state=Agent.State.APPROVED).exists():
        return [
            Need(
                "robot",
                "blue",
                _("Wait for the banks' agents"),
                _("Each bank's page shows the commands that install and enrol its agent."),
                reverse("institutions:list"),
                _("Institutions"),
            )
        ]
    if not Project.objects.exists():
        return [
            Need(
                "folder",
                "blue",
                _("Create the first project"),
                _("A project says what the model is for and which banks take part."),
                reverse("rounds:project-new"),
                _("Create"),
            )
        ]
    if not Plan.objects.exists():
        return [
            Need(
                "file-certificate",
                "blue",
                _("Write the first plan"),
                _("A plan says exactly what is trained, and how."),
                reverse("rounds:plan-new", args=[Project.objects.latest("created_at").slug]),
                _("Write a plan"),
            )
        ]
    if not Run.objects.exists():
        return [
            Need(
                "player-play",
                "blue",
                _("Start the first run"),
                _("The plan is frozen; its banks will be asked for their word."),
                reverse("rounds:plan", args=[Plan.objects.latest("created_at").hash]),
                _("To the plan"),
            )
        ]
    return []


@dataclass(frozen=True)
class PlanRequest:
    """A plan that names the operator's bank and has no approval of it yet."""

    plan: Plan
    decision: str
    reason: str
    clicked: bool
    run: Run | None


def requests_for(audience: Audience) -> list[PlanRequest]:
    """Plans that wait for this bank's word, those with an open run first."""
    decided = {d.plan_id: d for d in PlanDecision.objects.filter(institution=audience.institution_id)}
    clicked = set(PortalApproval.objects.filter(institution=audience.institution_id).values_list("plan_id", flat=True))
    waiting = {
        run.plan_id: run
        for run in Run.objects.filter(
            seats__institution=audience.institution_id, seats__state=Seat.State.INVITED, state=RunState.PROPOSED
        )
    }
    found = []
    for plan in visible_plans(audience).order_by("-created_at")[:50]:
        decision = decided.get(plan.pk)
        if (decision is None or decision.decision == "pending") and audience.institution_slug in plan.document.participants:
            found.append(
                PlanRequest(
                    plan,
                    decision.decision if decision else "none",
                    said(decision.reason) if decision else "",
                    plan.pk in clicked,
                    waiting.get(plan.pk),
                )
            )
    return sorted(found, key=lambda request: request.run is None)


def latest_receipts(audience: Audience, limit: int = 6) -> list[Sent]:
    rows = Receipt.objects.filter(institution=audience.institution_id).select_related("run__plan__project")
    return sent(rows[:limit])


@dataclass(frozen=True)
class ChainRow:
    """A ledger chain as the auditor's list shows it; ``verified`` is (entry, instant) of this person's last check."""

    chain: Chain
    title: str
    last_at: str | None
    verified: tuple[int, str] | None
    broken: str

    @property
    def is_current(self) -> bool:
        return self.verified is not None and self.verified[0] == self.chain.seq


def chain_rows(checks: dict[str, Any], audience: Audience, *, limit: int | None = None) -> list[ChainRow]:
    """All chains, the consortium's first, then projects and their runs; ``checks`` are the person's own verifications."""
    titles = _titles()
    rows = list(Chain.objects.annotate(last_at=Max("entries__at_utc")).order_by("-last_at"))
    rows.sort(key=lambda chain: ("consortium", "project", "run").index(chain.name.split("/")[0]))
    found = []
    for chain in rows[:limit]:
        check = checks.get(chain.name) or {}
        verified = (check["seq"], check["at"]) if check.get("seq") is not None else None
        found.append(ChainRow(chain, titles.get(chain.name, chain.name), chain.last_at, verified, check.get("broken", "")))
    return found


def _titles() -> dict[str, str]:
    titles = {"consortium": _("Consortium")}
    titles |= {f"project/{slug}": name for slug, name in Project.objects.values_list("slug", "name")}
    for pk, number, name in Run.objects.values_list("pk", "number", "plan__project__name"):
        titles[f"run/{pk}"] = _("%(project)s, run %(n)d") % {"project": name, "n": number}
    return titles


def latest_exceptions(audience: Audience) -> list[Line]:
    return exceptions(audience, limit=10)
