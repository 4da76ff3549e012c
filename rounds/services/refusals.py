"""What was refused: an update at the door, or a piece of work by an agent. Both go on the ledger and on the page."""

from __future__ import annotations

from django.db import transaction

from audit.models import Entry
from clientagent.wire.errors import Refusal, RoundUnknown
from clientagent.wire.messages import WorkRefusal
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds import crashing
from rounds.lifecycle import WORKING, Phase
from rounds.models import Participation, PrivacyRelease, Receipt, Run
from rounds.services.moves import actor_of_agent, hint_after_commit, record
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement
from rounds.services.updates import find_participation

MAX_REFUSALS_RECORDED = 20
"""Refusals of one bank in one round that go on the ledger; more are noise, or a fault would fill the chain."""


@transaction.atomic(durable=True)
def record_refusal(*, identity: AgentIdentity, run_id: str, number: int, attempt: int, refusal: Refusal) -> None:
    """An authenticated refusal goes on the ledger and on the page; the round stays as it was."""
    try:
        participation = find_participation(identity, run_id, number, attempt)
    except (RoundUnknown, ValueError):
        seats = {"seats__institution_id": identity.institution_id}
        run = Run.objects.select_related("plan__project").filter(pk=run_id, **seats).first() if len(run_id) == 36 else None
        if run is not None and _recorded(run, identity) < MAX_REFUSALS_RECORDED:
            _record_refusal(run, identity, number, attempt, refusal)
        return
    run = participation.round.run
    problem = refusal.problem()
    Participation.objects.filter(pk=participation.pk, phase__in=WORKING).update(phase=Phase.REJECTED, problem=problem)
    crashing.moving("phase:rejected")
    if _recorded(run, identity) < MAX_REFUSALS_RECORDED * (participation.round.number + 1):
        _record_refusal(run, identity, number, attempt, refusal)
    hint_after_commit(run)


def _record_refusal(run: Run, identity: AgentIdentity, number: int, attempt: int, refusal: Refusal) -> None:
    record(
        run, "update_refused",
        {"round": number, "attempt": attempt, "institution": identity.institution_slug, **refusal.problem(),
         **_spent_all_the_same(run, identity, number)},
        actor=actor_of_agent(identity.agent_id),
    )


def _spent_all_the_same(run: Run, identity: AgentIdentity, number: int) -> dict[str, object]:
    """The events of the round's releases that had reached the portal: refused or not, their privacy is spent."""
    rows = PrivacyRelease.objects.filter(run=run, round=number, account__institution_id=identity.institution_id, account__unit="record")
    events = list(rows.values_list("event", flat=True)) if number else []
    return {"privacy": events} if events else {}


def _recorded(run: Run, identity: AgentIdentity) -> int:
    return Entry.objects.filter(chain_id=run.chain, kind="update_refused", actor=actor_of_agent(identity.agent_id)).count()


@transaction.atomic(durable=True)
def refuse_work(*, identity: AgentIdentity, statement: Signed) -> Receipt:
    """An agent's signed word that it will not do a piece of work. It is out of that round."""
    document = open_statement(statement, identity, WorkRefusal)
    participation = find_participation(identity, document.run, document.round, document.attempt)
    if receipt := earlier_receipt(identity, statement):
        return receipt
    run = participation.round.run
    problem = {"code": document.code, "expected": "", "got": document.reason, "action": ""}
    Participation.objects.filter(pk=participation.pk, phase__in=WORKING).update(phase=Phase.DROPPED, problem=problem)
    crashing.moving("phase:dropped")
    Participation.objects.filter(pk=participation.pk, phase=Phase.RECEIVED, ready_at__isnull=False).update(problem=problem)
    entry = record(
        run, "work_refused",
        {"round": document.round, "attempt": document.attempt, "institution": identity.institution_slug, "code": document.code,
         "reason": document.reason, "statement": statement.model_dump(mode="json")}, actor=actor_of_agent(identity.agent_id),
    )
    hint_after_commit(run)
    return issue_receipt(
        identity=identity, statement=statement, subject="refusal", entry=entry, run=run, round_number=document.round,
        attempt=document.attempt,
    )
