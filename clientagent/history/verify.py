"""Whether a downloaded history holds, offline. Decides from the file alone: the portal is not asked and not believed.

Numbered as an auditor would work: (1) the chain of entries from the first to the last, (2) the portal's signature on its head,
(3) the plan and its hash, (4) the run's manifest, (5) the entries against each other: every update signed by a key of the roster,
every aggregation made of accepted updates, every version the child of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from clientagent.history.spending import Spent
from clientagent.history.story import Story
from clientagent.wire.canonical import digest_of, parse_json
from clientagent.wire.errors import LedgerBroken, Malformed, PlanHashMismatch, PortalKeyMismatch
from clientagent.wire.ledger import Entry, verify_chain
from clientagent.wire.messages import Digest, Head, PlanDocument, PreprocessingSpec, RunManifest
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.signing import PublicKey, Signed, open_signed, parse

MIN_FINGERPRINT = 32
"""Digits of a fingerprint that are enough to compare: those that people see."""


class SealedEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    entry: Entry
    hash: Digest


class History(BaseModel):
    """The file that the portal's export writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["fedportal-history/1"]
    run: dict[str, Any]
    portal_key: str
    plan: Signed
    manifest: Signed | None
    preprocessing: PreprocessingSpec | None
    entries: list[SealedEntry]
    head: Signed


@dataclass(frozen=True)
class Verified:
    """What the file proves. ``remarks`` are true things that a reader should know and that break nothing."""

    run: str
    project: str
    plan_hash: str
    entries: int
    head: str
    at_utc: str
    portal_key: str
    rounds: int
    updates: int
    versions: int
    banks: list[str]
    remarks: list[str]
    privacy: list[Spent]

    @property
    def spent_as_stated(self) -> bool:
        """False where the recorded events cost more than was stated or allowed."""
        return all(one.holds is not False for one in self.privacy)


def verify_history(data: bytes, *, portal_key: str | None = None) -> Verified:
    """Check a history file. ``portal_key`` is the fingerprint that the reader got elsewhere (at least its first 32 digits).

    Raises ``LedgerBroken`` naming the first bad entry, or the refusal that fits: ``Malformed``, ``SignatureInvalid``,
    ``PortalKeyMismatch``, ``PlanHashMismatch``.
    """
    history = parse(History, parse_json(data))
    root = PublicKey.from_text(history.portal_key)
    if portal_key is not None:
        require_fingerprint(root, portal_key)
    head = _check_chain(history, root)
    plan = _check_plan(history, root)
    manifest = open_signed(history.manifest, root, RunManifest) if history.manifest else None
    run = head.chain.removeprefix("run/")
    story = Story(run, plan, history.manifest, manifest, history.preprocessing)
    for sealed in history.entries:
        story.read(sealed.entry)
    story.end()
    _check_heading(history.run, run, plan, story)
    return Verified(
        run=run, project=plan.project, plan_hash=plan.hash, entries=head.seq,
        head=head.hash, at_utc=head.at_utc, portal_key=root.fingerprint, rounds=max(len(story.versions) - 1, 0),
        updates=story.updates, versions=len(story.versions),
        banks=sorted({slot.institution for slot in story.accepted}), remarks=story.remarks, privacy=story.spending.spent(),
    )


def require_fingerprint(key: PublicKey, expected: str) -> None:
    """Compare a key with a fingerprint as a person types it. Raises ``PortalKeyMismatch``."""
    digits = "".join(expected.split()).lower().replace(":", "")
    if len(digits) < MIN_FINGERPRINT:
        raise Malformed(expected=f"a fingerprint of at least {MIN_FINGERPRINT} digits", got=expected)
    if not key.fingerprint.startswith(digits):
        raise PortalKeyMismatch(expected=digits, got=key.fingerprint)


def _check_chain(history: History, root: PublicKey) -> Head:
    """Steps 1 and 2."""
    head = parse(Head, history.head.document)
    if not history.entries:
        raise LedgerBroken(expected="at least one entry", got="none")
    last = verify_chain(((sealed.entry, sealed.hash) for sealed in history.entries), chain=head.chain)
    open_signed(history.head, root, Head)
    if (head.seq, head.hash) != (len(history.entries), last):
        raise LedgerBroken(
            expected=f"the signed head {head.hash[:16]} at entry {head.seq}",
            got=f"{last[:16]} at entry {len(history.entries)}",
        )
    return head


def _check_plan(history: History, root: PublicKey) -> Plan:
    """Step 3."""
    document = open_signed(history.plan, root, PlanDocument)
    plan = parse_plan(document.plan)
    if not plan.hash == document.plan_hash == digest_of(document.plan):
        raise PlanHashMismatch(expected=document.plan_hash, got=plan.hash)
    return plan


def _check_heading(heading: dict[str, Any], run: str, plan: Plan, story: Story) -> None:
    """The file's own heading is not signed, so it may say nothing that the signed papers do not say."""
    said = {
        "id": run, "project": plan.project, "plan_hash": plan.hash, "number": story.number, "state": story.state,
    }  # fmt: skip
    for name, expected in said.items():
        if heading.get(name) != expected:
            raise LedgerBroken(expected=f"the heading's {name} {expected}", got=str(heading.get(name)))
    if heading.get("reason") not in story.reasons:
        raise LedgerBroken(expected="in the heading a reason that an entry gives", got=str(heading.get("reason")))
    if unknown := sorted(set(heading) - set(said) - {"reason"}):
        raise LedgerBroken(expected="a heading that the entries prove", got=f"{', '.join(unknown)} beside it")
