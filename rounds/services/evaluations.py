"""The closing evaluation of a run's last version, and a bank's word that it holds the result."""

from __future__ import annotations

from django.db import transaction

from clientagent.wire.errors import BaseMismatch, IllegalMove, ManifestMismatch, NotFound
from clientagent.wire.messages import Acknowledgement, EvaluationReport
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds.clock import now
from rounds.lifecycle import RunState
from rounds.models import Receipt, Run, Seat
from rounds.services.moves import actor_of_agent, hint_after_commit, record
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement
from rounds.services.updates import check_counts, store_counts


@transaction.atomic(durable=True)
def accept_evaluation(*, identity: AgentIdentity, statement: Signed) -> Receipt:
    """Accept the counts of the run's last version.

    Raises ``CountsInvalid``, ``IllegalMove``, ``NotFound`` or ``ManifestMismatch``.
    """
    report = open_statement(statement, identity, EvaluationReport)
    seat = seated(identity, report.run)
    run = seat.run
    if receipt := earlier_receipt(identity, statement):
        return receipt
    if report.manifest_digest != run.manifest_digest:
        raise ManifestMismatch(expected=run.manifest_digest[:16], got=report.manifest_digest[:16])
    if run.state != RunState.RUNNING or run.closing_at is None:
        raise IllegalMove(expected="a run whose closing evaluation is open", got=run.state)
    if run.plan.document.privacy.secure_aggregation is not None:
        raise IllegalMove(
            expected="counts that are masked, as the plan says", got="a bank's own", action="Do not send them again unmasked."
        )
    version = run.last_version
    check_counts(run, identity.institution_slug, report.counts, version)
    store_counts(version, identity.institution_id, report.counts)
    entry = record(
        run, "evaluation_received",
        {"number": version.number, "institution": identity.institution_slug, "statement_digest": statement.digest},
        actor=actor_of_agent(identity.agent_id),
    )
    hint_after_commit(run)
    return issue_receipt(identity=identity, statement=statement, subject="evaluation", entry=entry, run=run)


@transaction.atomic(durable=True)
def acknowledge_result(*, identity: AgentIdentity, statement: Signed) -> Receipt:
    """A bank fetched the result, verified it and stored it."""
    word = open_statement(statement, identity, Acknowledgement)
    seat = seated(identity, word.run)
    run = seat.run
    if receipt := earlier_receipt(identity, statement):
        return receipt
    if run.state != RunState.FINISHED or run.selected is None:
        raise IllegalMove(expected="a finished run", got=run.state)
    if (word.number, word.version_digest) != (run.selected.number, run.selected.digest):
        raise BaseMismatch(expected=f"version {run.selected.number}", got=f"version {word.number}")
    Seat.objects.filter(pk=seat.pk, acknowledged_at=None).update(acknowledged_at=now())
    entry = record(
        run, "result_acknowledged",
        {"institution": identity.institution_slug, "number": word.number, "digest": word.version_digest,
         "statement_digest": statement.digest}, actor=actor_of_agent(identity.agent_id),
    )
    hint_after_commit(run)
    return issue_receipt(identity=identity, statement=statement, subject="acknowledgement", entry=entry, run=run)


def seated(identity: AgentIdentity, run_id: str) -> Seat:
    """This bank's seat on the roster of a run, the run's row locked. Raises ``NotFound``."""
    run = Run.objects.select_for_update(no_key=True).filter(pk=run_id).first()
    seat = Seat.objects.select_related("run__plan__project", "run__selected").filter(
        run=run, institution_id=identity.institution_id, state=Seat.State.SEATED
    ).first()
    if run is None or seat is None:
        raise NotFound(expected="a run whose roster names this bank", got=run_id)
    return seat
