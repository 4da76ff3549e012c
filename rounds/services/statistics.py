"""The statistics stage: a bank's sums over its training rows, or the reason why its data do not fit."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from clientagent.wire.errors import IllegalMove, Malformed, NotFound, StatisticsInvalid, UpdateConflict
from clientagent.wire.messages import StatisticsReport, Unfit
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds.algorithms.reports import check_declaration, check_report
from rounds.lifecycle import RunState
from rounds.models import Receipt, Run, Seat
from rounds.services.moves import actor_of_agent, hint_after_commit, record
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement


@transaction.atomic(durable=True)
def accept_statistics(*, identity: AgentIdentity, statement: Signed) -> Receipt:
    """Accept a report, or a bank's word that its data do not fit.

    Raises ``StatisticsInvalid``, ``NotFound``, ``IllegalMove`` (the stage is over) or ``UpdateConflict`` (another answer
    was given).
    """
    document = _open(identity, statement)
    seat = _seat(identity, document.run)
    if receipt := earlier_receipt(identity, statement):
        return receipt
    leaves_cohort = isinstance(document, Unfit) and seat.state == Seat.State.COUNTED and seat.run.plan.document.masks_statistics
    if not (leaves_cohort and seat.run.state == RunState.PREPARING):
        _require_asked(seat, document.plan_hash)
    if isinstance(document, StatisticsReport):
        kind, body = _note_report(seat, document, statement)
    else:
        kind, body = _note_unfit(seat, document)
    seat.agent_id, seat.key_id = identity.agent_id, identity.key_id
    seat.save()
    entry = record(
        seat.run, kind, {"institution": identity.institution_slug, "statement_digest": statement.digest, **body},
        actor=actor_of_agent(identity.agent_id),
    )
    hint_after_commit(seat.run)
    return issue_receipt(identity=identity, statement=statement, subject="statistics", entry=entry, run=seat.run)


def _open(identity: AgentIdentity, statement: Signed) -> StatisticsReport | Unfit:
    match statement.document.get("type"):
        case "statistics_report":
            return open_statement(statement, identity, StatisticsReport)
        case "unfit":
            return open_statement(statement, identity, Unfit)
        case other:
            raise Malformed(expected="a statistics_report or unfit", got=str(other)[:40])


def _seat(identity: AgentIdentity, run_id: str) -> Seat:
    run = Run.objects.select_for_update(no_key=True).filter(pk=run_id).first()
    seat = Seat.objects.select_related("run__plan").filter(run=run, institution_id=identity.institution_id).first()
    if run is None or seat is None:
        raise NotFound(expected="a run that this bank takes part in", got=run_id)
    return seat


def _require_asked(seat: Seat, plan_hash: str) -> None:
    if seat.run.plan.hash != plan_hash:
        raise NotFound(expected=f"the plan {seat.run.plan.hash[:16]} of this run", got=plan_hash[:16])
    if seat.state in (Seat.State.COUNTED, Seat.State.UNFIT):
        raise UpdateConflict(expected="the answer that this bank already gave", got="another one")
    if seat.run.state != RunState.PREPARING or seat.state != Seat.State.APPROVED:
        got = f"a run that is {seat.run.state} and a bank that is {seat.state}"
        raise IllegalMove(expected="a run that is preparing and a bank that approved", got=got)


def _note_report(seat: Seat, report: StatisticsReport, statement: Signed) -> tuple[str, dict[str, Any]]:
    if seat.run.plan.document.masks_statistics:
        check_declaration(report)
    else:
        check_report(seat.run.plan.document, report)
    if report.rows == 0:
        raise StatisticsInvalid(expected="at least one training row", got="none")
    seat.state, seat.rows, seat.reason = Seat.State.COUNTED, report.rows, ""
    seat.statistics, seat.statistics_digest = statement.model_dump(mode="json"), statement.digest
    rows = {"rows": report.rows, "validation_rows": report.validation_rows, "holdout_rows": report.holdout_rows}
    said = report.privacy
    spent = {"privacy": {"event": said.event.model_dump(mode="json"), "run_epsilon": said.run_epsilon}} if said else {}
    return "statistics_received", {**rows, **spent}


def _note_unfit(seat: Seat, word: Unfit) -> tuple[str, dict[str, Any]]:
    seat.state, seat.column, seat.reason = Seat.State.UNFIT, word.column[:128], word.reason
    return "institution_unfit", {"column": word.column, "reason": word.reason}
