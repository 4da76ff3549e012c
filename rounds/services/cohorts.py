"""A cohort from its forming to its last stage: who is ready, what each bank says, and the end of a stage.

The collector (``clientagent.wire.masking``) judges every word; here it becomes a row, in one transaction with its entry on the
ledger. Shares and answers to the unmasking request go there by their digests only: they are secrets of banks.
"""

from __future__ import annotations

from typing import Literal

from django.db import transaction

from clientagent.wire.cohort_orders import UpdateReady
from clientagent.wire.errors import BaseMismatch, CountsInvalid, IllegalMove, Malformed, ManifestMismatch, NotFound
from clientagent.wire.masking import Base, Cohort, Collector, Stage, cohort_segments, cohort_terms, rotated_bound
from clientagent.wire.messages import RunManifest
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.signing import Signed, parse
from institutions.authentication import AgentIdentity
from institutions.models import Institution
from rounds import crashing, live
from rounds import models as tables
from rounds.clock import now
from rounds.lifecycle import WORKING, CohortEvent, CohortStage, Phase, RoundState
from rounds.models import CohortMessage, Participation, Receipt, Round, Run
from rounds.selectors.cohorts import collector_of, live_cohort
from rounds.services.masked import take
from rounds.services.moves import actor_of_agent, hint_after_commit, hold_run, lock_round, move_cohort, record
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement
from rounds.services.updates import find_participation

SECRET = (Stage.SHARES, Stage.UNMASK)
"""Stages whose words the ledger names by their digests."""


# --------------------------------------------------------------------------- ready
@transaction.atomic(durable=True)
def accept_ready(*, identity: AgentIdentity, statement: Signed) -> Receipt:
    """A bank has trained and waits to be masked. After the cohort was formed it is too late, and the receipt says so."""
    ready = open_statement(statement, identity, UpdateReady)
    hold_run(ready.run)
    participation = find_participation(identity, ready.run, ready.round, ready.attempt)
    if receipt := earlier_receipt(identity, statement):
        return receipt
    run, round_ = participation.round.run, participation.round
    _check_ready(participation, ready)
    counts = round_.state == RoundState.OPEN and participation.phase in WORKING and not round_.cohorts.exists()
    moment = now()
    rows = Participation.objects.filter(pk=participation.pk)
    if counts:
        rows.update(phase=Phase.READY, problem=None, ready_at=participation.ready_at or moment)
        crashing.moving("phase:ready")
    else:
        rows.exclude(phase__in=(Phase.RECEIVED, Phase.ACCEPTED)).update(phase=Phase.LATE)
        crashing.moving("phase:late")
    outcome = "accepted" if counts else "late"
    entry = record(
        run, "update_ready",
        {"round": round_.number, "attempt": participation.slot, "institution": identity.institution_slug, "outcome": outcome,
         "statement": statement.model_dump(mode="json")}, actor=actor_of_agent(identity.agent_id),
    )
    hint_after_commit(run)
    return issue_receipt(
        identity=identity, statement=statement, subject="ready", entry=entry, run=run, round_number=round_.number,
        attempt=participation.slot, outcome=outcome,
    )


def _check_ready(participation: Participation, ready: UpdateReady) -> None:
    round_, run = participation.round, participation.round.run
    if run.plan.document.privacy.secure_aggregation is None:
        raise IllegalMove(expected="a plain update, as the plan says", got="a bank that waits to be masked")
    if ready.manifest_digest != run.manifest_digest:
        raise ManifestMismatch(expected=run.manifest_digest[:16], got=ready.manifest_digest[:16])
    if (ready.base_number, ready.base_digest) != (round_.base.number, round_.base.digest):
        raise BaseMismatch(
            expected=f"version {round_.base.number} ({round_.base.digest[:16]})",
            got=f"version {ready.base_number} ({ready.base_digest[:16]})",
        )
    if ready.rows != participation.seat.rows:
        raise CountsInvalid(expected=f"the {participation.seat.rows} rows declared in the run's manifest", got=str(ready.rows))


# --------------------------------------------------------------------------- forming
@transaction.atomic(durable=True)
def form_cohort(*, round_: Round) -> bool:
    """Freeze the terms for the banks that are ready; who is not has missed this attempt. False when somebody was first."""
    round_ = lock_round(round_)
    if round_.state != RoundState.OPEN or live_cohort(round_):
        return False
    run, plan = round_.run, round_.run.plan.document
    working = round_.participations.filter(phase__in=WORKING)
    ready = list(working.filter(ready_at__isnull=False).select_related("institution"))
    number, parameters = round_.cohorts.count() + 1, run.parameters or 0
    base = Base(round_.base.number, round_.base.digest)
    manifest, banks = parse(RunManifest, run.manifest["document"]), [row.institution.slug for row in ready]  # type: ignore[index]
    purpose: Literal["update", "evaluation"] = "evaluation" if round_.only_counts else "update"
    is_noised = plan.privacy.institution_dp is not None and purpose == "update"
    noise = institution_terms(plan).noise_multiplier if is_noised else None
    terms = cohort_terms(
        plan=plan, manifest=manifest, manifest_digest=run.manifest_digest, round_number=round_.number,
        attempt=round_.attempt, cohort=number, bases=dict.fromkeys(banks, base),
        segments=cohort_segments(
            plan, manifest, banks, purpose=purpose, base_number=base.number, attempt=round_.attempt,
            bound=_bound(run, parameters, len(ready)), noise_multiplier=noise,
        ),
        noise_multiplier=noise, purpose=purpose,
    )
    moment = now()
    cohort = tables.Cohort.objects.create(
        round=round_, number=number, rid=Cohort(terms).rid, terms=terms.model_dump(mode="json"), formed_at=moment,
        deadline_at=moment + plan.stage_timeout,
    )
    left_out = _drop(round_, working.filter(ready_at=None), "not_ready", "trained when the cohort was formed", "was still working")
    record(run, "cohort_formed", {
        "round": round_.number, "attempt": round_.attempt, "cohort": number, "rid": cohort.rid, "terms": cohort.terms,
        "left_out": left_out,
    })
    _tell_members(run, terms.model_dump()["members"])
    transaction.on_commit(lambda: crashing.reached("cohort:formed"))
    return True


def _bound(run: Run, parameters: int, parties: int) -> float | None:
    """What the last mean says of how large rotated coordinates may be."""
    last = tables.Cohort.objects.filter(round__run=run, mean_norm__isnull=False).order_by("-round__number").first()
    return rotated_bound(last.mean_norm, parameters, parties) if last and last.mean_norm else None


def _drop(round_: Round, rows, code: str, expected: str, got: str) -> list[str]:  # type: ignore[no-untyped-def]
    slugs = sorted(rows.values_list("institution__slug", flat=True))
    problem = {"code": code, "expected": expected, "got": got, "action": ""}
    if round_.participations.filter(institution__slug__in=slugs, phase__in=WORKING).update(phase=Phase.DROPPED, problem=problem):
        crashing.moving("phase:dropped")
    return slugs


def _tell_members(run: Run, members: list[dict[str, object]]) -> None:
    slugs = [str(member["institution"]) for member in members]
    transaction.on_commit(lambda: live.call_to_work(slugs))
    hint_after_commit(run)


# --------------------------------------------------------------------------- hearing
def find_cohort(identity: AgentIdentity, rid: str) -> tables.Cohort:
    """A cohort that this bank is a member of. Raises ``NotFound``."""
    heavy = ("round__aggregation", "round__run__manifest", "round__run__preprocessing", "round__run__plan__signed")
    cohort = tables.Cohort.objects.select_related("round__run__plan").defer(*heavy).filter(
        rid=rid, round__participations__institution_id=identity.institution_id
    ).first() or tables.Cohort.objects.select_related("run__plan").filter(
        rid=rid, run__seats__institution_id=identity.institution_id
    ).first()
    if cohort is None:
        raise NotFound(expected="a cohort of this bank", got=rid[:64])
    return cohort


@transaction.atomic(durable=True)
def hear(*, identity: AgentIdentity, cohort: tables.Cohort, statement: Signed) -> None:
    """One bank's word in the stage that awaits it. The same one again changes nothing, even late.

    Raises ``StageClosed``, ``UpdateConflict``, ``ConsistencyBroken``, ``ShareInvalid`` and what else the collector finds.
    """
    if statement.document.get("type") == "masked_input":
        raise Malformed(expected="the masked vector by POST updates or uploads", got="its document alone")
    round_ = round_of(cohort)
    hold_run(round_.run_id)
    now_is = tables.Cohort.objects.filter(pk=cohort.pk).values_list("stage", "round__state")
    cohort.stage, round_.state = now_is.get()
    if not _is_known(cohort, identity, statement):
        collector = take(cohort, identity, statement)
        (hint_after_commit if collector.is_complete else _announce)(round_.run)
        transaction.on_commit(lambda: crashing.reached("cohort:heard"))


def round_of(cohort: tables.Cohort) -> Round:
    """The round of a cohort that is known to have one."""
    assert cohort.round is not None
    return cohort.round


def _announce(run: Run) -> None:
    run_id = str(run.pk)
    transaction.on_commit(lambda: live.announce(run_id))


def _is_known(cohort: tables.Cohort, identity: AgentIdentity, statement: Signed) -> bool:
    said = cohort.messages.filter(institution_id=identity.institution_id).values_list("signed", flat=True)
    return any(Signed.model_validate(one) == statement for one in said)


# --------------------------------------------------------------------------- closing
@transaction.atomic(durable=True)
def close_stage(*, cohort: tables.Cohort) -> bool:
    """End a stage with those who have spoken and open the next; who was silent is out. False when somebody was first.

    The last stage ends with its round (``close_round``).
    """
    was = cohort.stage
    round_ = lock_round(round_of(cohort))
    fresh = tables.Cohort.objects.get(pk=cohort.pk)
    if fresh.stage != was or was == CohortStage.UNMASK or round_.state != RoundState.OPEN:
        return False
    before = collector_of(fresh)
    before.close()
    if not move_cohort(fresh, CohortEvent.CLOSE, deadline_at=now() + round_.run.plan.document.stage_timeout):
        return False
    if was != CohortStage.CONSISTENCY:  # from then on a bank's vector is in the sum, whether it speaks or not
        silent = round_.participations.filter(institution__slug__in=before.awaited, phase__in=WORKING)
        _drop(round_, silent, "stage_missed", f"its word in stage {was}", "none in time")
    note_stage(fresh, round_, before)
    _tell_members(round_.run, fresh.terms["members"])
    return True


def note_stage(cohort: tables.Cohort, round_: Round, closed: Collector) -> None:
    """What a stage came to, on the ledger: what may be read as it was signed, what is secret by its digest."""
    stage = closed.stage
    said = {bank: closed.messages[stage][bank] for bank in closed.spoken(stage)}
    body = {
        "round": round_.number, "attempt": round_.attempt, "cohort": cohort.number, "rid": cohort.rid, "stage": str(stage),
        "missing": closed.awaited,
    }
    if stage in SECRET:
        body["digests"] = {bank: signed.digest for bank, signed in said.items()}
    else:
        body["said"] = {bank: signed.model_dump(mode="json") for bank, signed in said.items()}
    record(round_.run, "cohort_stage_closed", body)


def require_may_drop(round_: Round, institution: Institution) -> None:
    """Raises ``IllegalMove`` for a bank whose masked vector is in already: it can no longer be taken out of the sum."""
    if CohortMessage.objects.filter(cohort__round=round_, stage=CohortStage.MASKED, institution=institution).exists():
        raise IllegalMove(
            expected="a bank whose masked vector has not come", got="one whose vector is part of the sum",
            action="Wait for the round, or stop the run.",
        )
