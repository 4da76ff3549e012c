"""What a release has cost each bank that is in it, under the privacy of banks: one ledger a bank and project.

Where the portal adds the noise, a round costs when its version is published. Where banks add it in shares, the portal is among
those whom it protects from, so a vector costs as soon as it is in a cohort, whatever becomes of that.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from clientagent.wire.errors import NotAllowed, PrivacyLedgerLocked, PrivacyUnsound
from clientagent.wire.messages import AggregationManifest, BankPrivacy, PrivacyEvent, PrivacyHead
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import release_of, summed_delta
from clientagent.wire.privacy.events import together
from clientagent.wire.privacy.institution import AdaptiveClip, institution_terms
from clientagent.wire.signing import Signed, open_signed
from institutions.authentication import AgentIdentity
from institutions.models import Institution
from rounds.clock import now
from rounds.models import ModelVersion, PrivacyAccount, PrivacyRelease, Round, Run
from rounds.services.buffer import in_manifest_order
from rounds.services.moves import actor_of_agent, record
from rounds.services.privacy_ledgers import countersign, locked_row, meet, standing
from rounds.services.statements import open_statement


def next_clip(round_: Round) -> float | None:
    """The clip of the version that a closed round makes; it follows from the manifest alone. None where the plan's does not adapt."""
    said = AggregationManifest.model_validate(round_.aggregation).noise
    if said is None or said.within_share is None:
        return None
    return AdaptiveClip(said.clip).after(said.within_share).clip


def clip_said(version: ModelVersion) -> dict[str, float]:
    """What the ledger says of a version's clip, where it adapts."""
    return {} if version.clip is None else {"clip": version.clip}


def book_round(round_: Round) -> dict[str, float]:
    """Book the round for each bank in its sum, in the caller's transaction; epsilon of the run so far, by bank."""
    banks = [update.participation.institution for update in in_manifest_order(round_)]
    return {bank.slug: _book(round_, bank) for bank in banks}


def book_masked(round_: Round, bank: Institution, rid: str) -> None:
    """A bank's vector is in a cohort (its rid): a release of its own, with noise of its own. In the caller's transaction."""
    if round_.run.plan.document.privacy.institution_dp is not None:
        _book(round_, bank, rid)


def spent_in(round_: Round) -> dict[str, float]:
    """Epsilon of the run so far, by bank in the round's sum, where vectors were booked as they came."""
    banks = [update.participation.institution_id for update in in_manifest_order(round_)]
    rows = PrivacyRelease.objects.filter(run=round_.run, account__unit="institution", account__institution_id__in=banks)
    return dict(rows.order_by().values_list("account__institution__slug").annotate(most=Max("run_epsilon")))


def _book(round_: Round, bank: Institution, rid: str | None = None) -> float:
    run, terms = round_.run, institution_terms(round_.run.plan.document)
    account = locked_row(bank.pk, run.plan.project.slug, "institution")
    release = release_of(run=str(run.pk), institution=bank.slug, base_digest=round_.base.digest, cohort=rid)
    known = [PrivacyEvent.model_validate(row.event) for row in account.releases.filter(run=run)]
    event = terms.event(release, round_.base.digest, round_.base.clip)
    spent = epsilon_of(together([*known, event]), terms.delta)
    PrivacyRelease.objects.create(
        account=account, run=run, round=round_.number, release=release, event=event.model_dump(mode="json"),
        run_epsilon=spent, at=now(),
    )
    rows = [PrivacyEvent.model_validate(row.event) for row in account.releases.all()]
    account.delta = summed_delta([terms.delta, account.delta or terms.delta], "institution")
    account.epsilon = epsilon_of(together(rows), account.delta)
    account.save(update_fields=["delta", "epsilon", "updated_at"])
    return spent


# ------------------------------------------------------------------ what a bank says of its own ledger
def meet_bank(*, identity: AgentIdentity, statement: Signed) -> Signed:
    """Hold the ledger of what a bank as a whole has lost against what is known of it; the portal's countersignature, with the budget.

    Raises ``NotAllowed``, ``PrivacyUnsound`` for a run that does not spend from it, and ``PrivacyLedgerLocked``: where one side is
    behind (a restored backup) nothing more of this bank is taken in the project until people have reconciled.
    """
    said = open_statement(statement, identity, BankPrivacy)
    run = Run.objects.select_related("plan__project").filter(pk=said.run, seats__institution_id=identity.institution_id).first()
    if run is None or run.plan.project.slug != said.project:
        raise NotAllowed(expected="a run of this project that the bank takes part in", got=f"run {said.run} in {said.project}")
    if run.plan.document.privacy.institution_dp is None:
        raise PrivacyUnsound(expected="a run whose plan has institution_dp", got="one without")
    head = open_signed(said.head.head, identity.public_key, PrivacyHead)
    if (head.institution, head.unit, head.subject) != (identity.institution_slug, "institution", said.project):
        raise NotAllowed(
            expected=f"a ledger of {identity.institution_slug} in {said.project}", got=f"{head.institution}/{head.unit}/{head.subject}"
        )
    answer = _meet(identity, run, statement, said, head)
    if isinstance(answer, PrivacyLedgerLocked):
        raise answer
    return answer


@transaction.atomic(durable=True)
def _meet(
    identity: AgentIdentity, run: Run, statement: Signed, said: BankPrivacy, head: PrivacyHead
) -> PrivacyLedgerLocked | Signed:
    """A lock must last, so it is returned, not raised."""
    account = locked_row(identity.institution_id, said.project, "institution")
    before = account.seq, account.epoch
    if (problem := meet(account, run, said.head, head)) is not None:
        return problem
    word = countersign(account)
    account.budget, account.delta = said.budget, min(said.delta, account.delta or said.delta)
    account.save()
    if (account.seq, account.epoch) != before:
        body = {"institution": identity.institution_slug, "statement": statement.model_dump(mode="json")}
        record(run, "bank_privacy_shown", body, actor=actor_of_agent(identity.agent_id))
    return word


def require_open(run: Run, institution: int) -> None:
    """Raises ``PrivacyLedgerLocked`` where the plan spends a bank's own privacy and the two sides disagree about what was spent."""
    if run.plan.document.privacy.institution_dp is None:
        return
    accounts = PrivacyAccount.objects.filter(institution_id=institution, unit="institution", subject=run.plan.document.project)
    if (account := accounts.first()) is not None and (problem := standing(account)) is not None:
        raise problem
