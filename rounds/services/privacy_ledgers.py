"""Banks' privacy ledgers as the portal knows them: held against what it saw before, countersigned, locked where the two disagree."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from audit.services import CONSORTIUM, append
from clientagent.wire.errors import IllegalMove, Malformed, PrivacyLedgerLocked
from clientagent.wire.ledger import GENESIS, seal
from clientagent.wire.messages import PrivacyCountersignature, PrivacyHead, PrivacyHeadUpdate
from clientagent.wire.messages.privacy import Unit
from clientagent.wire.privacy.heads import require_extends
from clientagent.wire.signing import Signed, sign_document
from institutions.authentication import AgentIdentity
from institutions.portal_key import portal_key
from rounds.clock import now, utc
from rounds.models import PrivacyAccount, PrivacyLink, Project, Run
from rounds.services.moves import actor_of, record


def locked_row(institution: int, subject: str, unit: Unit = "record") -> PrivacyAccount:
    """The account of one bank's ledger, its row locked for the caller's transaction."""
    made, _ = PrivacyAccount.objects.get_or_create(
        institution_id=institution, unit=unit, subject=subject, defaults={"hash": GENESIS}
    )
    return PrivacyAccount.objects.select_for_update(of=("self",), no_key=True).select_related("institution").get(pk=made.pk)


def meet(account: PrivacyAccount, run: Run, update: PrivacyHeadUpdate, head: PrivacyHead) -> PrivacyLedgerLocked | None:
    """Hold a bank's signed head against what is known of its ledger, and countersign it (the caller saves the row).

    A lock must last, so it is returned, not raised. Raises ``PrivacyLedgerLocked`` where the bank has yet to reconcile.
    """
    if (problem := standing(account)) is not None:
        return problem
    if head.epoch < account.epoch:
        raise PrivacyLedgerLocked(
            expected=f"a ledger after reconciliation {account.epoch}", got=f"one after {head.epoch}",
            action="Run 'fedagent privacy reconcile' at the bank.",
        )
    if not _is_known(account, head):
        try:
            _extend(account, update, head)
        except PrivacyLedgerLocked as error:
            _lock(account, run, error)
            return error
    return None


def standing(account: PrivacyAccount) -> PrivacyLedgerLocked | None:
    """Why this ledger stands still; None where it does not."""
    if account.locked is None:
        return None
    problem = dict(account.locked)
    return PrivacyLedgerLocked(expected=problem["expected"], got=problem["got"], action=problem["action"])


def _is_known(account: PrivacyAccount, head: PrivacyHead) -> bool:
    """Whether this head was passed before: a statement that is sent again, or after another run's."""
    if head.epoch != account.epoch or head.seq > account.seq:
        return False
    return bool(head.seq) and account.links.filter(epoch=head.epoch, seq=head.seq, hash=head.hash).exists()


def _extend(account: PrivacyAccount, update: PrivacyHeadUpdate, head: PrivacyHead) -> None:
    since = account.links.filter(epoch=account.epoch, seq=update.since_seq).first()
    require_extends(head, update, _word(account), since.hash if since else None)
    reached = since.hash if since else GENESIS
    links = []
    for seq, digest in enumerate(update.links, update.since_seq + 1):
        reached = seal(reached, digest)
        links.append(PrivacyLink(account=account, epoch=head.epoch, seq=seq, hash=reached))
    PrivacyLink.objects.bulk_create(links, ignore_conflicts=True)
    account.seq, account.hash = head.seq, head.hash
    countersign(account)


def countersign(account: PrivacyAccount) -> Signed:
    """The portal's word for where the ledger stands now, and for the budget that it must keep; the caller saves the row."""
    word = sign_document(_word(account), portal_key())
    account.countersigned = word.model_dump(mode="json")
    return word


def _word(account: PrivacyAccount) -> PrivacyCountersignature:
    budgets = Project.objects.filter(slug=account.subject).values_list("institution_epsilon", flat=True)
    return PrivacyCountersignature(
        institution=account.institution.slug, unit=account.whose, subject=account.subject, seq=account.seq, hash=account.hash,
        epoch=account.epoch, budget=budgets.first() if account.unit == "institution" else None, at_utc=utc(now()),
    )


def _lock(account: PrivacyAccount, run: Run, error: PrivacyLedgerLocked) -> None:
    account.locked, account.locked_at = dict(error.problem()), now()
    account.save(update_fields=["locked", "locked_at"])
    body = {"institution": account.institution.slug, "subject": account.subject, "expected": error.expected, "got": error.got}
    record(run, "privacy_ledger_locked", body)


def countersigned(identity: AgentIdentity, document: dict[str, Any]) -> Signed | None:
    """The portal's last word on the privacy ledger that a statement tells of; None where it tells of none."""
    said = document.get("privacy")
    subject = said.get("subject") if isinstance(said, dict) else None
    if not isinstance(subject, str):
        return None
    account = PrivacyAccount.objects.filter(institution_id=identity.institution_id, unit="record", subject=subject).first()
    return Signed.model_validate(account.countersigned) if account and account.countersigned else None


@transaction.atomic(durable=True)
def confirm_reconciliation(*, account: PrivacyAccount, user: Any, reason: str) -> PrivacyAccount:
    """People have compared both sides: the bank's next statement begins a new epoch of its ledger. Raises ``IllegalMove``."""
    account = PrivacyAccount.objects.select_for_update(of=("self",), no_key=True).select_related("institution").get(pk=account.pk)
    if not reason.strip():
        raise Malformed(expected="a reason", got="none", action="Say in a sentence what was compared and found.")
    if account.locked is None:
        raise IllegalMove(expected="a privacy ledger that is locked", got="one that is open")
    was = account.locked
    account.epoch, account.seq, account.hash, account.countersigned = account.epoch + 1, 0, GENESIS, None
    account.locked = account.locked_at = None
    account.save()
    append(
        chain=CONSORTIUM, kind="privacy_reconciled", actor=actor_of(user),
        body={"institution": account.institution.slug, "subject": account.subject, "epoch": account.epoch, "reason": reason.strip(),
              "was": {"expected": was["expected"], "got": was["got"]}},
    )
    return account
