"""Statistics under masks: the cohort of the banks that declared their rows, its words and vectors, and the end of its stages."""

from __future__ import annotations

from django.db import transaction

from clientagent.wire.errors import DigestMismatch, IllegalMove, Malformed, TensorsMismatch
from clientagent.wire.masking import (
    Cohort,
    Collector,
    most_rows_for,
    statistics_member,
    statistics_segments,
    statistics_terms,
)
from clientagent.wire.secure_messages import CohortTerms, MaskedInput
from clientagent.wire.signing import Signed, parse
from institutions.authentication import AgentIdentity
from rounds import crashing, live
from rounds import models as tables
from rounds.clock import now
from rounds.lifecycle import CohortEvent, CohortStage, RunState
from rounds.models import Receipt, Run, Seat
from rounds.selectors.cohorts import collector_of
from rounds.services.cohorts import SECRET
from rounds.services.masked import keep_word
from rounds.services.moves import actor_of_agent, hint_after_commit, lock_run, move_cohort, record
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement


# --------------------------------------------------------------------------- forming
@transaction.atomic(durable=True)
def form_statistics_cohort(*, run: Run) -> bool:
    """Freeze the terms for the banks that declared their rows; who did not has missed the run. False when somebody was first."""
    run = lock_run(run.pk)
    if run.state != RunState.PREPARING or run.statistics_cohorts.exclude(stage=CohortStage.FAILED).exists():
        return False
    plan, number = run.plan.document, run.statistics_cohorts.count() + 1
    seats = list(run.seats.filter(state=Seat.State.COUNTED).select_related("institution", "key"))
    members = [
        statistics_member(plan, institution=seat.institution.slug, agent_id=str(seat.agent_id), public_key=seat.key.public_key)
        for seat in seats if seat.key is not None
    ]  # fmt: skip
    segments = statistics_segments(plan, most_rows=most_rows_for(max(seat.rows or 0 for seat in seats)))
    terms = statistics_terms(plan=plan, run=str(run.pk), cohort=number, members=members, segments=segments)
    moment = now()
    cohort = tables.Cohort.objects.create(
        run=run, number=number, rid=Cohort(terms).rid, terms=terms.model_dump(mode="json"), formed_at=moment,
        deadline_at=moment + plan.stage_timeout,
    )
    left_out = _drop(run, run.seats.filter(state=Seat.State.APPROVED), "no statistics in time")
    record(run, "cohort_formed", {
        "round": 0, "attempt": 1, "cohort": number, "rid": cohort.rid, "terms": cohort.terms, "left_out": left_out,
    })
    _tell_members(cohort)
    transaction.on_commit(lambda: crashing.reached("cohort:formed"))
    return True


def _drop(run: Run, seats, reason: str) -> list[str]:  # type: ignore[no-untyped-def]
    slugs = sorted(seats.values_list("institution__slug", flat=True))
    run.seats.filter(institution__slug__in=slugs).update(state=Seat.State.ABSENT, reason=reason)
    return slugs


def _tell_members(cohort: tables.Cohort) -> None:
    slugs = [str(member["institution"]) for member in cohort.terms["members"]]
    transaction.on_commit(lambda: live.call_to_work(slugs))
    hint_after_commit(_run_of(cohort))


def _run_of(cohort: tables.Cohort) -> Run:
    assert cohort.run is not None
    return cohort.run


# --------------------------------------------------------------------------- hearing
@transaction.atomic(durable=True)
def hear_statistics(*, identity: AgentIdentity, cohort: tables.Cohort, statement: Signed) -> None:
    """One bank's word in the stage that awaits it. The same one again changes nothing, even late."""
    if statement.document.get("type") == "masked_input":
        raise Malformed(expected="the masked vector with its document", got="its document alone")
    run = lock_run(_run_of(cohort).pk)
    cohort = tables.Cohort.objects.select_related("run").get(pk=cohort.pk)
    said = cohort.messages.filter(institution_id=identity.institution_id).values_list("signed", flat=True)
    if any(Signed.model_validate(one) == statement for one in said):
        return
    _require_preparing(run)
    keep_word(cohort, identity, statement)
    hint_after_commit(run)
    transaction.on_commit(lambda: crashing.reached("cohort:heard"))


def check_vector(identity: AgentIdentity, cohort: tables.Cohort, statement: Signed, size: int) -> MaskedInput:
    """The document of a masked vector of so many bytes. Raises ``Malformed``, ``TensorsMismatch`` or what a signature's check raises."""
    said = open_statement(statement, identity, MaskedInput)
    words = Cohort(parse(CohortTerms, cohort.terms)).ring.words
    if (said.words, size) != (words, 4 * words):
        raise TensorsMismatch(expected=f"{words} words of 4 bytes", got=f"{said.words} words in {size} bytes")
    return said


@transaction.atomic(durable=True)
def take_vector(*, identity: AgentIdentity, cohort: tables.Cohort, statement: Signed, said: MaskedInput, digest: str) -> Receipt:
    """A masked vector whose bytes are kept under ``digest``: its word is heard, and the bank gets a receipt that says masked."""
    if said.digest != digest:
        raise DigestMismatch(expected=said.digest, got=digest)
    run = lock_run(_run_of(cohort).pk)
    if receipt := earlier_receipt(identity, statement):
        return receipt
    _require_preparing(run)
    cohort = tables.Cohort.objects.select_related("run").get(pk=cohort.pk)
    keep_word(cohort, identity, statement)
    tables.Blob.objects.get_or_create(digest=digest, defaults={"bytes": 4 * said.words})
    entry = record(
        run, "statistics_masked",
        {"institution": identity.institution_slug, "rid": cohort.rid, "digest": digest, "bytes": 4 * said.words,
         "statement_digest": statement.digest}, actor=actor_of_agent(identity.agent_id),
    )
    hint_after_commit(run)
    return issue_receipt(
        identity=identity, statement=statement, subject="statistics", entry=entry, run=run, update_digest=digest,
        update_bytes=4 * said.words,
    )


def _require_preparing(run: Run) -> None:
    if run.state != RunState.PREPARING:
        raise IllegalMove(expected="a run that is preparing", got=f"one that is {run.state}")


# --------------------------------------------------------------------------- closing
@transaction.atomic(durable=True)
def close_statistics_stage(*, cohort: tables.Cohort) -> bool:
    """End a stage with those who have spoken; who was silent before its vector was in has missed the run. False: somebody was first."""
    run = lock_run(_run_of(cohort).pk)
    was, fresh = cohort.stage, tables.Cohort.objects.select_related("run").get(pk=cohort.pk)
    if fresh.stage != was or run.state != RunState.PREPARING:
        return False
    before = collector_of(fresh)
    before.close()
    if not move_cohort(fresh, CohortEvent.CLOSE, deadline_at=now() + run.plan.document.stage_timeout):
        return False
    if was in (CohortStage.KEYS, CohortStage.SHARES, CohortStage.MASKED):
        silent = run.seats.filter(institution__slug__in=before.awaited, state=Seat.State.COUNTED)
        _drop(run, silent, f"no word in stage {was} of the cohort that sums statistics")
    _note_stage(run, fresh, before)
    _tell_members(fresh)
    return True


@transaction.atomic(durable=True)
def give_up_statistics_cohort(*, cohort: tables.Cohort, reason: str) -> bool:
    """A cohort that too few are left in, or whose sum cannot be opened. Who was awaited in vain is not in the next one."""
    run = lock_run(_run_of(cohort).pk)
    fresh = tables.Cohort.objects.select_related("run").get(pk=cohort.pk)
    if fresh.stage != cohort.stage or run.state != RunState.PREPARING:
        return False
    awaited = collector_of(fresh).awaited
    if not move_cohort(fresh, CohortEvent.FAIL):
        return False
    silent = run.seats.filter(institution__slug__in=awaited, state=Seat.State.COUNTED)
    left_out = _drop(run, silent, f"no word in stage {cohort.stage} of the cohort that sums statistics")
    record(run, "statistics_cohort_failed", {"cohort": fresh.number, "rid": fresh.rid, "reason": reason, "left_out": left_out})
    hint_after_commit(run)
    return True


def _note_stage(run: Run, cohort: tables.Cohort, closed: Collector) -> None:
    stage = closed.stage
    said = {bank: closed.messages[stage][bank] for bank in closed.spoken(stage)}
    body = {"round": 0, "attempt": 1, "cohort": cohort.number, "rid": cohort.rid, "stage": str(stage), "missing": closed.awaited}
    if stage in SECRET:
        body["digests"] = {bank: signed.digest for bank, signed in said.items()}
    else:
        body["said"] = {bank: signed.model_dump(mode="json") for bank, signed in said.items()}
    record(run, "cohort_stage_closed", body)
