"""What banks say that their releases cost their customers: judged, booked, and their ledgers held against what is known of them."""

from __future__ import annotations

from django.db import transaction

from clientagent.wire.errors import BudgetExceeded, NotAllowed, NotFound, PrivacyLedgerLocked, PrivacyUnsound
from clientagent.wire.messages import (
    PrivacyEvent,
    PrivacyHead,
    PrivacyStatement,
    StatisticsReport,
    UpdateManifest,
)
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import ROUNDING, allotment_of, release_of
from clientagent.wire.privacy.events import together
from clientagent.wire.privacy.terms import record_terms
from clientagent.wire.signing import Signed, open_signed
from institutions.authentication import AgentIdentity
from rounds.clock import now
from rounds.models import Participation, PrivacyAccount, PrivacyRelease, Run
from rounds.services.bank_privacy import require_open
from rounds.services.privacy_ledgers import locked_row, meet
from rounds.services.statements import open_statement

SAME = 1 - 1e-6


def take_statement(
    *, identity: AgentIdentity, run: Run, rows: int, statement: PrivacyStatement | None, round_number: int = 0,
    base_digest: str | None = None, slot: int = 1,
) -> None:
    """Book a release that has arrived, whatever becomes of it, and countersign the bank's ledger.

    Raises ``PrivacyUnsound`` and ``BudgetExceeded`` for a release that is not as the plan says, ``PrivacyLedgerLocked`` where the
    bank's ledger does not go on from what is known of it; it then stays locked until people have reconciled.
    """
    plan = run.plan.document
    if plan.privacy.record_dp is None or statement is None:
        if (plan.privacy.record_dp is None) != (statement is None):
            got = "none" if statement is None else "one"
            raise PrivacyUnsound(expected="a privacy statement where the plan has record_dp, and only there", got=got)
        return
    own_slot = slot if run.is_async and base_digest is not None else None
    name = release_of(run=str(run.pk), institution=identity.institution_slug, base_digest=base_digest, slot=own_slot)
    if statement.event.release != name:
        raise PrivacyUnsound(expected=f"a statement of release {name[:16]}", got=statement.event.release[:16])
    head = open_signed(statement.head.head, identity.public_key, PrivacyHead)
    if (head.institution, head.unit, head.subject) != (identity.institution_slug, "record", statement.subject):
        raise NotAllowed(expected=f"a ledger of {identity.institution_slug}", got=f"{head.institution}/{head.subject}")
    problem = _take(identity, run, rows, statement, head, round_number)
    if problem is not None:
        raise problem


def take_update_statement(*, identity: AgentIdentity, participation: Participation, manifest: UpdateManifest) -> None:
    """As ``take_statement``, for an update whose manifest was checked; its other figures must tell nothing of customers.

    Raises ``PrivacyLedgerLocked`` also where the ledger of the bank as a whole stands still and the plan spends from it.
    """
    run = participation.round.run
    require_open(run, identity.institution_id)
    if run.plan.document.privacy.record_dp is not None and manifest.train_loss is not None:
        raise PrivacyUnsound(expected="no training loss under record_dp: no noise covers it", got=f"{manifest.train_loss:g}")
    take_statement(
        identity=identity, run=run, rows=manifest.rows, statement=manifest.privacy, round_number=manifest.round,
        base_digest=manifest.base_digest, slot=manifest.attempt,
    )


def take_report_statement(*, identity: AgentIdentity, statement: Signed) -> None:
    """As ``take_statement``, for a statistics report; anything else has none."""
    if statement.document.get("type") != "statistics_report" or statement.document.get("privacy") is None:
        return
    report = open_statement(statement, identity, StatisticsReport)
    run = Run.objects.select_related("plan__project").filter(pk=report.run, seats__institution_id=identity.institution_id).first()
    if run is None:
        raise NotFound(expected="a run that this bank takes part in", got=report.run)
    take_statement(identity=identity, run=run, rows=report.rows, statement=report.privacy)


@transaction.atomic(durable=True)
def _take(
    identity: AgentIdentity, run: Run, rows: int, statement: PrivacyStatement, head: PrivacyHead, round_number: int
) -> PrivacyLedgerLocked | None:
    """A lock must last, so it is returned, not raised; everything else that is refused changes nothing."""
    account = locked_row(identity.institution_id, statement.subject)
    if (problem := meet(account, run, statement.head, head)) is not None:
        return problem
    _check_release(account, run, rows, statement)
    _note(account, run, statement, round_number)
    return None


def _check_release(account: PrivacyAccount, run: Run, rows: int, statement: PrivacyStatement) -> None:
    """The event is one that the plan makes of this bank's rows, not one too many, and its epsilon is not told too small."""
    plan = run.plan.document
    allotted = allotment_of(record_terms(plan, rows), run=str(run.pk), project=plan.project, plan_hash=run.plan.hash)
    event = statement.event
    if not allotted.allows(event):
        got = f"noise {event.noise_multiplier:g}, {event.steps} steps at rate {event.sampling_rate:g}, clip {event.clip:g}"
        raise PrivacyUnsound(expected=f"noise {allotted.update.noise_multiplier:g} and the plan's steps, rate and clip", got=got)
    known = {row.release: PrivacyEvent.model_validate(row.event) for row in account.releases.filter(run=run)}
    known[event.release] = event
    updates = sum(one.base_digest is not None for one in known.values())
    if updates > allotted.updates:
        raise BudgetExceeded(expected=f"at most {allotted.updates} updates of this bank in the run", got=f"{updates}")
    least = epsilon_of(together(known.values()), allotted.delta)
    if not least * SAME <= statement.run_epsilon <= allotted.epsilon * ROUNDING:
        raise PrivacyUnsound(
            expected=f"an epsilon from {least:.6g}, which follows from the recorded releases, to {allotted.epsilon:g}",
            got=f"{statement.run_epsilon:.6g}",
        )


def _note(account: PrivacyAccount, run: Run, statement: PrivacyStatement, round_number: int) -> None:
    PrivacyRelease.objects.get_or_create(
        account=account, run=run, release=statement.event.release,
        defaults={
            "round": round_number, "event": statement.event.model_dump(mode="json"), "run_epsilon": statement.run_epsilon,
            "at": now(),
        },
    )
    account.epsilon = max(account.epsilon, statement.subject_epsilon)
    account.delta, account.budget = statement.subject_delta, statement.budget
    account.save()
