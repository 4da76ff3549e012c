"""The receipts in a home, each held against the statement that it answers, and what is known of what left with it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from clientagent.countersigned import check_receipt
from clientagent.files import read_document
from clientagent.home import Home, StoredReceipt
from clientagent.sent import BankProtection, Protection, Sending, Sent
from clientagent.wire.canonical import canonical
from clientagent.wire.errors import DigestMismatch, NotFound, Refusal, SignatureInvalid
from clientagent.wire.messages import Receipt, UpdateManifest
from clientagent.wire.signing import PublicKey, Signed, open_signed, parse

LEAST_OF_ID = 4


@dataclass(frozen=True)
class Audited:
    """One receipt file, and what is wrong with it; ``problem`` is empty where it holds.

    ``document_digest`` is of our own statement as it lies here, signed by the key of which ``agent_key`` is the fingerprint.
    """

    id: str
    receipt: Receipt | None
    problem: str
    sent: Sent = field(default_factory=Sent)
    privacy: Protection | None = None
    bank: BankProtection | None = None
    agent_key: str = ""
    portal_key: str = ""

    def as_json(self) -> dict[str, Any]:
        fields = self.receipt.model_dump() if self.receipt else dict.fromkeys(Receipt.model_fields, "")
        privacy, bank = (asdict(part) if part else None for part in (self.privacy, self.bank))
        return {
            **fields, "id": self.id, **asdict(self.sent), "problem": self.problem, "privacy": privacy, "bank": bank,
            "agent_key": self.agent_key, "portal_key": self.portal_key,
        }  # fmt: skip


def audit(home: Home, only: str = "") -> Iterator[Audited]:
    """Each receipt in the home, or those whose id begins with ``only``; oldest first."""
    sending = Sending(home)
    audited = [_audit(home, path, sending) for path in home.receipt_paths() if path.stem.startswith(only)]
    yield from sorted(audited, key=lambda one: (one.receipt.at_utc, one.receipt.chain, one.receipt.seq) if one.receipt else ("", "", 0))


def audit_one(home: Home, receipt_id: str) -> Audited:
    """The one receipt whose id begins so. Raises ``NotFound`` for none or several."""
    found = list(audit(home, receipt_id)) if len(receipt_id) >= LEAST_OF_ID else []
    if len(found) != 1:
        raise NotFound(
            expected=f"the id of one receipt, or its first {LEAST_OF_ID} letters or more", got=receipt_id,
            action="See the ids with 'fedagent receipts'.",
        )
    return found[0]


def _audit(home: Home, path: Path, sending: Sending) -> Audited:
    found = Audited(path.stem, None, "")
    try:
        stored = read_document(path, StoredReceipt)
        if stored is None:
            return replace(found, problem="the file is gone")
        keys = stored.statement.signature.key, stored.receipt.signature.key
        found = replace(found, receipt=parse(Receipt, stored.receipt.document), agent_key=keys[0], portal_key=keys[1])
        found = replace(found, sent=sending.sent(stored.statement), privacy=sending.customers(stored.statement))
        found = replace(found, bank=sending.bank(stored.statement))
        _check(home, stored)
    except Refusal as error:
        return replace(found, problem=error.sentence)
    return found


def _check(home: Home, stored: StoredReceipt) -> None:
    identity = home.require_identity()
    receipt = open_signed(stored.receipt, identity.root, Receipt)
    verify_statement(stored.statement, home.key.public)
    check_receipt(receipt, stored.statement, identity.institution)
    if receipt.subject == "update":
        work = home.run(receipt.run).work(receipt.round, receipt.attempt)
        manifest = parse(UpdateManifest, stored.statement.document)
        if work.update_path.exists() and not work.holds(manifest):
            raise DigestMismatch(expected=manifest.update_digest, got="other bytes on disk")


def verify_statement(statement: Signed, key: PublicKey) -> None:
    """The signature of a statement of whatever type. Raises ``SignatureInvalid``."""
    try:
        value = base64.b64decode(statement.signature.value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureInvalid(expected="a base64 signature", got=statement.signature.value[:60]) from error
    key.verify(value, canonical(statement.document))
