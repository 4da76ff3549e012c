"""A bank's word on a plan: signed by its agent, or an operator's click that the agent may trust."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from audit.services import append
from clientagent.wire.errors import NotAllowed, NotFound
from clientagent.wire.messages import Decision
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from institutions.models import Institution
from rounds import live
from rounds.clock import now
from rounds.lifecycle import RunState
from rounds.models import Plan, PlanDecision, PortalApproval, Receipt, Seat
from rounds.services.moves import actor_of, actor_of_agent, hint_after_commit, record
from rounds.services.proposals import seat_state
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement


@transaction.atomic(durable=True)
def record_decision(*, identity: AgentIdentity, plan_hash: str, statement: Signed) -> Receipt:
    """Write down a bank's word; seats of runs that still wait for it follow. Raises ``NotFound`` and ``NotAllowed``."""
    decision = open_statement(statement, identity, Decision)
    plan = plan_for(identity, plan_hash)
    if decision.plan_hash != plan_hash:
        raise NotAllowed(expected=f"a decision on {plan_hash[:16]}", got=decision.plan_hash[:16])
    if receipt := earlier_receipt(identity, statement):
        return receipt
    PlanDecision.objects.update_or_create(
        plan=plan, institution_id=identity.institution_id,
        defaults={
            "decision": decision.decision, "by": decision.by, "reason": decision.reason, "decided_at": now(),
            "signed": statement.model_dump(mode="json"),
        },
    )
    body = {
        "institution": identity.institution_slug, "plan_hash": plan_hash, "decision": decision.decision,
        "by": decision.by, "reason": decision.reason, "statement": statement.model_dump(mode="json"),
    }
    entry = None
    waiting = (Seat.State.INVITED, Seat.State.APPROVED, Seat.State.REFUSED)
    seats = Seat.objects.filter(
        institution_id=identity.institution_id, run__plan=plan, run__state=RunState.PROPOSED, state__in=waiting
    )
    for seat in seats.select_related("run", "run__plan__project").order_by("run_id"):  # chains' heads in one order
        seat.state, seat.reason = seat_state(decision.decision), decision.reason
        seat.save(update_fields=["state", "reason"])
        entry = record(seat.run, "plan_decided", body, actor=actor_of_agent(identity.agent_id))
        hint_after_commit(seat.run)
    if entry is None:
        entry = append(chain=plan.project.chain, kind="plan_decided", actor=actor_of_agent(identity.agent_id), body=body)
    return issue_receipt(identity=identity, statement=statement, subject="decision", entry=entry)


@transaction.atomic(durable=True)
def approve_in_portal(*, plan: Plan, institution: Institution, user: Any) -> PortalApproval:
    """An operator's click. The bank's agent acts on it only where its policy.toml says ``trust_portal_approvals``."""
    if institution.slug not in plan.document.participants:
        raise NotFound(expected="a plan that names this institution", got=plan.hash[:16])
    approval, created = PortalApproval.objects.get_or_create(plan=plan, institution=institution, defaults={"user": user})
    if created:
        append(
            chain=plan.project.chain, kind="portal_approval", actor=actor_of(user),
            body={"plan_hash": plan.hash, "institution": institution.slug},
        )
        for seat in Seat.objects.filter(institution=institution, run__plan=plan, run__state=RunState.PROPOSED):
            hint_after_commit(seat.run)
        transaction.on_commit(lambda: live.call_to_work([institution.slug]))
    return approval


def plan_for(identity: AgentIdentity, plan_hash: str) -> Plan:
    """The plan, if it names this bank. Raises ``NotFound``."""
    plan = Plan.objects.select_related("project").filter(hash=plan_hash).first()
    if plan is None or identity.institution_slug not in plan.document.participants:
        raise NotFound(expected="a plan that names this institution", got=plan_hash[:16])
    return plan
