"""Proposing a run: each participant gets a seat, and its word on the plan is awaited."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from clientagent.wire.errors import BudgetExceeded, PlanInvalid
from institutions.models import Institution
from rounds import live
from rounds.clock import now
from rounds.lifecycle import RunEvent
from rounds.models import Plan, PlanDecision, Project, Run, Seat
from rounds.selectors.outlooks import outlooks, too_small
from rounds.services.moves import actor_of, hint_after_commit, move_run, record


@transaction.atomic(durable=True)
def propose_run(*, plan: Plan, user: Any) -> Run:
    """Open a run of a frozen plan and ask every participant for its word.

    Raises ``PlanInvalid`` when a participant is suspended or unknown, ``BudgetExceeded`` where a privacy budget, of a bank's
    customers or of banks as a whole in this project, is known to be too small.
    """
    # run numbers are counted, and the project's budget is set aside, one at a time
    plan.project = Project.objects.select_for_update(no_key=True).get(pk=plan.project_id)
    schema = plan.document
    banks = list(Institution.objects.filter(slug__in=schema.participants))
    able = {bank.slug for bank in banks if bank.state != Institution.State.SUSPENDED}
    if missing := sorted(set(schema.participants) - able):
        raise PlanInvalid(
            expected="participants that are not suspended", got=", ".join(missing),
            action="Reinstate these institutions or freeze a plan without them.",
        )
    if obstacles := too_small(outlooks(plan.project, schema)):
        raise BudgetExceeded(
            expected="privacy budgets that hold this run", got="; ".join(obstacles),
            action="Propose a smaller epsilon or fewer rounds, leave these banks out, or have the budget raised: the project's on its "
                   "page, a bank's own in its policy.toml.",
        )
    number = (Run.objects.filter(plan__project=plan.project).aggregate(last=Max("number"))["last"] or 0) + 1
    run = Run.objects.create(plan=plan, number=number, created_by=user)
    decisions = dict(PlanDecision.objects.filter(plan=plan).values_list("institution_id", "decision"))
    Seat.objects.bulk_create(
        Seat(run=run, institution=bank, state=seat_state(decisions.get(bank.pk))) for bank in banks
    )
    move_run(run, RunEvent.PROPOSE, deadline_at=now() + timedelta(seconds=settings.FEDPORTAL_APPROVAL_DEADLINE_S))
    record(
        run, "run_proposed", {"run": str(run.pk), "number": number, "plan_hash": plan.hash,
                              "project": plan.project.slug, "participants": sorted(able)}, actor=actor_of(user),
    )
    slugs = sorted(able)
    transaction.on_commit(lambda: live.call_to_work(slugs))
    hint_after_commit(run)
    return run


def seat_state(decision: str | None) -> str:
    """What a bank's standing word on the plan makes of its seat."""
    return {"approved": Seat.State.APPROVED, "refused": Seat.State.REFUSED}.get(decision or "", Seat.State.INVITED)
