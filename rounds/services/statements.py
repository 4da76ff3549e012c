"""What a bank's agent signed: opened with the key of the request; the same statement gets the same receipt, however often."""

from __future__ import annotations

import uuid
from typing import TypeVar

from audit.models import Entry
from clientagent.wire.errors import NotAllowed, SignatureInvalid
from clientagent.wire.messages import Receipt as ReceiptDocument
from clientagent.wire.signing import Document, Signed, open_signed, sign_document
from institutions.authentication import AgentIdentity
from institutions.portal_key import portal_key
from rounds.clock import now, utc
from rounds.models import Receipt, Run

D = TypeVar("D", bound=Document)
NO_RUN = "00000000-0000-0000-0000-000000000000"


def open_statement(statement: Signed, identity: AgentIdentity, model: type[D]) -> D:
    """The document, signed by the very key of this request and speaking for this very bank.

    Raises ``SignatureInvalid``, ``Malformed`` or ``NotAllowed``.
    """
    if statement.signature.key != identity.key_fingerprint:
        raise SignatureInvalid(expected="the key that signed the request", got=statement.signature.key[:16])
    document = open_signed(statement, identity.public_key, model)
    claimed = getattr(document, "institution", identity.institution_slug)
    if claimed != identity.institution_slug:
        raise NotAllowed(expected=f"a statement of {identity.institution_slug}", got=f"one of {claimed}")
    return document


def earlier_receipt(identity: AgentIdentity, statement: Signed) -> Receipt | None:
    """The receipt that this very statement already got."""
    return Receipt.objects.filter(institution_id=identity.institution_id, document_digest=statement.digest).first()


def issue_receipt(
    *, identity: AgentIdentity, statement: Signed, subject: str, entry: Entry, run: Run | None = None, round_number: int = 0,
    attempt: int = 0, outcome: str = "accepted", update_digest: str | None = None, update_bytes: int = 0,
) -> Receipt:
    """Countersign a statement: where it stands on the ledger and what became of it."""
    receipt_id = uuid.uuid4()
    document = ReceiptDocument(
        id=str(receipt_id), run=str(run.pk) if run else NO_RUN, round=round_number, attempt=attempt,
        institution=identity.institution_slug, subject=subject, document_digest=statement.digest,  # type: ignore[arg-type]
        update_digest=update_digest, update_bytes=update_bytes, outcome=outcome,  # type: ignore[arg-type]
        chain=entry.chain_id, seq=entry.seq, entry_hash=entry.hash, at_utc=utc(now()),
    )
    return Receipt.objects.create(
        id=receipt_id, institution_id=identity.institution_id, run=run, subject=subject,
        document_digest=statement.digest, signed=sign_document(document, portal_key()).model_dump(mode="json"),
    )
