"""Who may see which project, plan, run and version, and whose figures. Every page asks here first.

Administrators and auditors see every bank's row. An operator sees what its own institution takes part in: own figures
and pooled ones, other banks by name and phase only (invariant 13).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404

from institutions.models import Institution, Role
from institutions.permissions import Person, membership_of
from institutions.saying import said
from rounds.lifecycle import RunState
from rounds.models import ModelVersion, Plan, Project, Receipt, Run


@dataclass(frozen=True)
class Audience:
    """Everybody in it may be shown the same page, so one drawing serves all of them."""

    role: Role
    institution_id: int | None = None
    institution_slug: str = ""

    @property
    def sees_all(self) -> bool:
        return self.role in (Role.ADMINISTRATOR, Role.AUDITOR)

    @property
    def administers(self) -> bool:
        return self.role == Role.ADMINISTRATOR

    def sees_figures_of(self, institution_id: int) -> bool:
        return self.sees_all or institution_id == self.institution_id

    def is_own(self, institution_id: int) -> bool:
        return institution_id == self.institution_id


def audience_of(user: Person) -> Audience:
    """Raises ``PermissionDenied`` for anybody without a seat."""
    seat = membership_of(user)
    if seat is None:
        raise PermissionDenied
    institution: Institution | None = seat.institution
    return Audience(Role(seat.role), institution.pk if institution else None, institution.slug if institution else "")


def reason_for(run: Run, audience: Audience) -> str:
    """Why a run is as it is. A failure's first sentence counts banks; what follows tells of each bank's own reasons."""
    if audience.sees_all or run.state != RunState.FAILED:
        return said(run.reason)
    return said(run.reason.partition(". ")[0].rstrip(".") + ".") if run.reason else ""


def visible_projects(audience: Audience) -> QuerySet[Project]:
    every = Project.objects.all()
    return every if audience.sees_all else every.filter(participants=audience.institution_id)


def visible_plans(audience: Audience) -> QuerySet[Plan]:
    every = Plan.objects.select_related("project")
    return every if audience.sees_all else every.filter(project__participants=audience.institution_id)


def visible_runs(audience: Audience) -> QuerySet[Run]:
    every = Run.objects.select_related("plan__project", "selected")
    return every if audience.sees_all else every.filter(seats__institution=audience.institution_id)


def visible_receipts(audience: Audience) -> QuerySet[Receipt]:
    every = Receipt.objects.select_related("institution", "run__plan__project")
    return every if audience.sees_all else every.filter(institution=audience.institution_id)


def project_for(audience: Audience, slug: str) -> Project:
    return _one(visible_projects(audience).filter(slug=slug))


def plan_for(audience: Audience, plan_hash: str) -> Plan:
    return _one(visible_plans(audience).filter(hash=plan_hash))


def run_for(audience: Audience, run_id: uuid.UUID | str) -> Run:
    return _one(visible_runs(audience).filter(pk=run_id))


def receipt_for(audience: Audience, receipt_id: uuid.UUID) -> Receipt:
    return _one(visible_receipts(audience).filter(pk=receipt_id))


def version_for(audience: Audience, run_id: uuid.UUID, number: int) -> ModelVersion:
    run = run_for(audience, run_id)
    version: ModelVersion = _one(run.versions.select_related("parent", "round", "blob").filter(number=number))
    version.run = run
    return version


def _one(rows):  # type: ignore[no-untyped-def]
    """What a person may not see is not there."""
    found = rows.first()
    if found is None:
        raise Http404
    return found
