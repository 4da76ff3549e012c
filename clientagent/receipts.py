"""What makes a receipt hold: it is the portal's word on a statement of ours, and both signatures verify."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clientagent.files import read_document
from clientagent.home import Home, StoredReceipt
from clientagent.runs import OwnClipping
from clientagent.wire.canonical import canonical
from clientagent.wire.errors import DigestMismatch, ManifestMismatch, Refusal, SignatureInvalid
from clientagent.wire.messages import PrivacyStatement, Receipt, UpdateManifest
from clientagent.wire.signing import PublicKey, Signed, open_signed, parse


def check_receipt(receipt: Receipt, statement: Signed, institution: str) -> None:
    """That a receipt speaks of this very statement. Raises ``ManifestMismatch``."""
    facts: list[tuple[str, Any, Any]] = [
        ("institution", institution, receipt.institution),
        ("document digest", statement.digest, receipt.document_digest),
    ]
    if statement.document.get("type") == "update_manifest":
        facts.append(("update digest", statement.document["update_digest"], receipt.update_digest))
        facts.append(("update bytes", statement.document["update_bytes"], receipt.update_bytes))
    for name, expected, got in facts:
        if expected != got:
            raise ManifestMismatch(expected=f"a receipt for the {name} {expected}", got=str(got))


@dataclass(frozen=True)
class Audited:
    """One receipt file, and what is wrong with it; ``problem`` is empty where it holds."""

    id: str
    receipt: Receipt | None
    problem: str
    privacy: Protection | None = None
    sent: Sent = field(default_factory=lambda: Sent())

    def as_json(self) -> dict[str, Any]:
        fields = self.receipt.model_dump() if self.receipt else dict.fromkeys(Receipt.model_fields, "")
        privacy = asdict(self.privacy) if self.privacy else None
        return {**fields, "id": self.id, **asdict(self.sent), "problem": self.problem, "privacy": privacy}


@dataclass(frozen=True)
class Sent:
    """What a statement says of the bytes that left: masked or not, their codec, what they take without it, the vector's L2 norm."""

    masked: bool = False
    codec: str = ""
    plain_bytes: int = 0
    norm: float | None = None

    @classmethod
    def of(cls, statement: Signed) -> Sent:
        if statement.document.get("type") != "update_manifest":
            return cls()
        said = parse(UpdateManifest, statement.document)
        return cls(said.masked is not None, said.codec, said.plain_bytes, said.norm)


@dataclass(frozen=True)
class Protection:
    """What protected an update and what it cost. ``clip_share``: drawn rows whose gradients were cut; never leaves the bank."""

    epsilon_of_this: float
    epsilon_of_run: float
    epsilon_allowed: float
    epsilon_of_lineage: float
    delta: float
    noise_multiplier: float
    clip: float
    sampling_rate: float
    steps: int
    lineage: str
    clip_share: float | None


def protection(home: Home, statement: Signed) -> Protection | None:
    """What the signed statement of an update or of statistics says of privacy, and the one figure that stays here."""
    if not statement.document.get("privacy"):
        return None
    said = parse(PrivacyStatement, statement.document["privacy"])
    own = read_document(home.run(str(statement.document["run"])).privacy_path / f"{said.event.release}.json", OwnClipping)
    event = said.event
    return Protection(
        said.run_epsilon - said.run_epsilon_before, said.run_epsilon, said.run_epsilon_allowed, said.subject_epsilon, event.delta,
        event.noise_multiplier, event.clip, event.sampling_rate, event.steps, said.subject, own.clip_share if own else None,
    )


def audit(home: Home) -> Iterator[Audited]:
    """Each receipt in the home, oldest first."""
    audited = [_audit(home, path) for path in home.receipt_paths()]
    yield from sorted(audited, key=lambda one: one.receipt.at_utc if one.receipt else "")


def _audit(home: Home, path: Path) -> Audited:
    receipt, said, sent = None, None, Sent()
    try:
        stored = read_document(path, StoredReceipt)
        if stored is None:
            return Audited(path.stem, None, "the file is gone")
        receipt = parse(Receipt, stored.receipt.document)
        sent = Sent.of(stored.statement)
        said = protection(home, stored.statement)
        _check(home, stored)
    except Refusal as error:
        return Audited(path.stem, receipt, error.sentence, said, sent)
    return Audited(path.stem, receipt, "", said, sent)


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
