"""Projects and frozen plans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction

from audit.services import append
from clientagent.wire.capabilities import require_supported
from clientagent.wire.combinations import require_combinable
from clientagent.wire.errors import PlanInvalid
from clientagent.wire.messages import PlanDocument
from clientagent.wire.plan import Plan as PlanSchema
from clientagent.wire.signing import sign_document
from institutions.models import Institution
from institutions.portal_key import portal_key
from rounds.models import Plan, Project
from rounds.services.moves import actor_of


@transaction.atomic(durable=True)
def create_project(
    *, slug: str, name: str, purpose: str, participants: Iterable[Institution], user: Any, description: str = "",
    institution_epsilon: float | None = None,
) -> Project:
    """Open a project for these institutions; ``institution_epsilon`` bounds what each may lose in it as a whole.

    Raises ``PlanInvalid`` when the slug is taken.
    """
    try:
        with transaction.atomic():
            project = Project.objects.create(
                slug=slug, name=name, purpose=purpose, description=description, created_by=user,
                institution_epsilon=institution_epsilon,
            )
    except IntegrityError as error:
        raise PlanInvalid(expected="a slug that no project has", got=slug) from error
    members = list(participants)
    project.participants.set(members)
    budget = {} if institution_epsilon is None else {"institution_epsilon": institution_epsilon}
    append(
        chain=project.chain, kind="project_created", actor=actor_of(user),
        body={"slug": slug, "name": name, "purpose": purpose, "participants": sorted(m.slug for m in members), **budget},
    )
    return project


@transaction.atomic(durable=True)
def freeze_plan(*, project: Project, plan: PlanSchema, user: Any, title: str = "") -> Plan:
    """Freeze a plan under its hash; the same hash again returns the plan that is already there.

    Raises ``PlanInvalid`` when it does not fit the project or its parts do not go together, and ``PlanUnsupported`` when this
    version cannot run it.
    """
    _require_fit(project, plan)
    require_combinable(plan)
    require_supported(plan)
    existing = Plan.objects.filter(hash=plan.hash).first()
    if existing:
        return existing
    document = PlanDocument(plan=plan.model_dump(mode="json"), plan_hash=plan.hash)
    frozen = Plan.objects.create(
        hash=plan.hash, project=project, title=title, text=plan.canonical_text, created_by=user,
        signed=sign_document(document, portal_key()).model_dump(mode="json"),
    )
    append(
        chain=project.chain, kind="plan_frozen", actor=actor_of(user),
        body={"plan_hash": plan.hash, "title": title, "plan": plan.model_dump(mode="json")},
    )
    return frozen


def _require_fit(project: Project, plan: PlanSchema) -> None:
    if plan.project != project.slug:
        raise PlanInvalid(expected=f"project: {project.slug}", got=plan.project, action="Correct project.")
    if plan.purpose != project.purpose:
        raise PlanInvalid(expected=f"purpose: {project.purpose}", got=plan.purpose, action="Correct purpose.")
    offered = set(project.participants.values_list("slug", flat=True))
    if strangers := sorted(set(plan.participants) - offered):
        raise PlanInvalid(
            expected="participants of this project", got=", ".join(strangers),
            action="Add these institutions to the project first, or correct participants.",
        )
