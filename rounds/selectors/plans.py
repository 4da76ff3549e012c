"""Who has said what about a plan, and which plan came before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from institutions.models import Institution
from institutions.saying import said
from rounds.figures import palette
from rounds.models import Plan, PlanDecision, PortalApproval, Project
from rounds.selectors.scope import Audience


@dataclass(frozen=True)
class Word:
    """One participant's word on a plan. An operator reads the reason of its own bank only."""

    institution: Institution
    place: int
    own: bool
    decision: str
    by: str
    reason: str
    at: datetime | None
    clicked_at: datetime | None


def decisions_on(plan: Plan, audience: Audience) -> list[Word]:
    slugs = plan.document.participants
    rows = {row.institution_id: row for row in PlanDecision.objects.filter(plan=plan)}
    clicked = dict(PortalApproval.objects.filter(plan=plan).values_list("institution_id", "at"))
    places = palette.places()
    words = []
    for bank in Institution.objects.filter(slug__in=slugs):
        row, visible = rows.get(bank.pk), audience.sees_figures_of(bank.pk)
        words.append(
            Word(
                bank,
                places.get(bank.pk, 0),
                audience.is_own(bank.pk),
                row.decision if row else "none",
                row.by if row else "",
                said(row.reason) if row and visible else "",
                row.decided_at if row else None,
                clicked.get(bank.pk) if visible else None,
            )
        )
    return words


def plan_before(project: Project, plan_hash: str = "", *, earlier_than: Plan | None = None) -> Plan | None:
    """The project's last plan, the one before a given one, or the one with this hash."""
    rows = Plan.objects.filter(project=project)
    rows = rows.filter(hash=plan_hash) if plan_hash else rows
    rows = rows.filter(created_at__lt=earlier_than.created_at) if earlier_than else rows
    return rows.order_by("-created_at").first()
