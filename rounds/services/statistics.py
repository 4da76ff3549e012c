"""The statistics stage: a bank's sums over its training rows, or the reason why its data do not fit."""

from __future__ import annotations

from django.db import transaction

from clientagent.wire.errors import IllegalMove, Malformed, NotFound, StatisticsInvalid, UpdateConflict
from clientagent.wire.messages import StatisticsReport, Unfit
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds.algorithms.preprocessing import check_report
from rounds.lifecycle import RunState
from rounds.models import Receipt, Run, Seat
from rounds.services.moves import actor_of_agent, hint_after_commit, record
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement


@transaction.atomic(durable=True)
def accept_statistics(*, identity: AgentIdentity, statement: Signed) -> Receipt:
    """Accept a report, or a bank's word that its data do not fit.

    Raises ``StatisticsInvalid``, ``NotFound``, ``IllegalMove`` (the stage is over) or ``UpdateConflict`` (another answer was given).
    """
    kind = statement.document.get("type")
    if kind not in ("statistics_report", "unfit"):
        raise Malformed(expected="a statistics_report or unfit", got=str(kind)[:40])
    document = open_statement(statement, identity, StatisticsReport if kind == "statistics_report" else Unfit)  # type: ignore[type-var]
    seat = _seat(identity, document.run)
    if receipt := earlier_receipt(identity, statement):
        return receipt
    if seat.run.plan.hash != document.plan_hash:
        raise NotFound(expected=f"the plan {seat.run.plan.hash[:16]} of this run", got=document.plan_hash[:16])
    if seat.state in (Seat.State.COUNTED, Seat.State.UNFIT):
        raise UpdateConflict(expected="the answer that this bank already gave", got="another one")
    if seat.run.state != RunState.PREPARING or seat.state != Seat.State.APPROVED:
        raise IllegalMove(expected="a run that is preparing and a bank that approved", got=f"{seat.run.state}, {seat.state}")
    if isinstance(document, StatisticsReport):
        check_report(seat.run.plan.document, document)
        if document.rows == 0:
            raise StatisticsInvalid(expected="at least one training row", got="none")
        kind, body = "statistics_received", {"rows": document.rows, "validation_rows": document.validation_rows,
                                             "holdout_rows": document.holdout_rows}  # fmt: skip
        seat.state, seat.rows = Seat.State.COUNTED, document.rows
        seat.statistics, seat.statistics_digest = statement.model_dump(mode="json"), statement.digest
        seat.reason = ""
    else:
        kind, body = "institution_unfit", {"column": document.column, "reason": document.reason}
        seat.state, seat.column, seat.reason = Seat.State.UNFIT, document.column[:128], document.reason
    seat.agent_id = identity.agent_id
    seat.key_id = identity.key_id
    seat.save()
    entry = record(
        seat.run, kind, {"institution": identity.institution_slug, "statement_digest": statement.digest, **body},
        actor=actor_of_agent(identity.agent_id),
    )
    hint_after_commit(seat.run)
    return issue_receipt(identity=identity, statement=statement, subject="statistics", entry=entry, run=seat.run)


def _seat(identity: AgentIdentity, run_id: str) -> Seat:
    run = Run.objects.select_for_update().filter(pk=run_id).first()
    seat = Seat.objects.select_related("run__plan").filter(run=run, institution_id=identity.institution_id).first()
    if run is None or seat is None:
        raise NotFound(expected="a run that this bank takes part in", got=run_id)
    return seat
