"""Whether a privacy ledger's head goes on from what is known of it. Both sides ask here, so both lock for the same reasons."""

from __future__ import annotations

from collections.abc import Sequence

from clientagent.wire.errors import PrivacyLedgerLocked
from clientagent.wire.ledger import GENESIS, extend
from clientagent.wire.messages.privacy import PrivacyCountersignature, PrivacyHead, PrivacyHeadUpdate


def require_extends(
    head: PrivacyHead, update: PrivacyHeadUpdate, known: PrivacyCountersignature | None, since_hash: str | None
) -> None:
    """The portal's question. ``known`` is the last head it countersigned, ``since_hash`` its own record of ``since_seq``.

    Raises ``PrivacyLedgerLocked`` for a head that is behind, beside or after an unconfirmed reconciliation.
    """
    seq, epoch = (known.seq, known.epoch) if known else (0, 0)
    if head.epoch != epoch:
        raise PrivacyLedgerLocked(
            expected=f"the ledger as it was before reconciliation {epoch + 1}", got=f"reconciliation {head.epoch}",
            action="An administrator compares both sides and confirms the bank's reconciliation.",
        )
    if head.seq < seq:
        raise PrivacyLedgerLocked(expected=f"entry {seq} or a later one", got=f"entry {head.seq}: an older copy of the ledger")
    start = GENESIS if update.since_seq == 0 else since_hash
    if start is None or update.since_seq > seq or len(update.links) != head.seq - update.since_seq:
        raise PrivacyLedgerLocked(expected=f"the entries since entry {seq}", got=f"{len(update.links)} since {update.since_seq}")
    if known and extend(start, update.links[: seq - update.since_seq]) != known.hash:
        raise PrivacyLedgerLocked(expected=f"entry {seq} as {known.hash[:16]}", got="another ledger of the same name")
    if extend(start, update.links) != head.hash:
        raise PrivacyLedgerLocked(expected=f"entry {head.seq} as {head.hash[:16]}", got="links that lead elsewhere")


def require_known(
    theirs: PrivacyCountersignature, seen: PrivacyCountersignature | None, hashes: Sequence[str], epoch: int
) -> None:
    """The agent's question: does the portal's word fit ``hashes``, ours from entry 1 on? ``seen`` is its last word that we kept.

    Raises ``PrivacyLedgerLocked`` where either side is behind or has another history.
    """
    if theirs.epoch != epoch:
        raise PrivacyLedgerLocked(expected=f"reconciliation {epoch}", got=f"{theirs.epoch} at the portal")
    if theirs.seq > len(hashes):
        raise PrivacyLedgerLocked(
            expected=f"a ledger of at least {theirs.seq} entries, which the portal countersigned",
            got=f"{len(hashes)}: this is an older copy, and what was spent since is missing",
        )
    if theirs.hash != (hashes[theirs.seq - 1] if theirs.seq else GENESIS):
        raise PrivacyLedgerLocked(expected=f"entry {theirs.seq} as {theirs.hash[:16]}", got="another one")
    if seen and seen.epoch == theirs.epoch and theirs.seq < seen.seq:
        raise PrivacyLedgerLocked(expected=f"a portal that knows entry {seen.seq}", got=f"it stands at entry {theirs.seq}")
