"""What banks showed of their own ledgers before a run spent from them: signed by the key on the roster, and each going on from the last."""

from __future__ import annotations

from typing import Any

from clientagent.wire.errors import LedgerBroken
from clientagent.wire.ledger import GENESIS, extend
from clientagent.wire.messages import BankPrivacy, PrivacyHead, RosterEntry
from clientagent.wire.plan import Plan
from clientagent.wire.signing import PublicKey, Signed, open_signed, parse


class ShownStory:
    """Raises ``LedgerBroken`` for a head that is of another bank or project, or does not go on from what was shown before."""

    def __init__(self, run: str, plan: Plan, roster: dict[str, RosterEntry], remarks: list[str]) -> None:
        self._run, self._plan, self._roster, self._remarks = run, plan, roster, remarks
        self._hashes: dict[tuple[str, int], dict[int, str]] = {}

    def shown(self, body: dict[str, Any]) -> None:
        bank, statement = str(body["institution"]), parse(Signed, body["statement"])
        said = parse(BankPrivacy, statement.document)
        _same("bank, run and project", (bank, self._run, self._plan.project), (said.institution, said.run, said.project))
        head = parse(PrivacyHead, said.head.head.document)
        _same("the ledger", (bank, "institution", said.project), (head.institution, head.unit, head.subject))
        entry = self._roster.get(bank)
        if entry is None or entry.key_fingerprint != statement.signature.key:
            self._remarks.append(f"the privacy ledger that {bank} showed bears a key that is not on the roster")
        else:
            key = PublicKey.from_text(entry.public_key)
            open_signed(statement, key, BankPrivacy)
            open_signed(said.head.head, key, PrivacyHead)
        self._follow(bank, head, said)

    def _follow(self, bank: str, head: PrivacyHead, said: BankPrivacy) -> None:
        """Entries of the bank's ledger from before the run are not in this file: the first head stands for them."""
        known = self._hashes.setdefault((bank, head.epoch), {})
        since = GENESIS if said.head.since_seq == 0 else known.get(said.head.since_seq)
        if since is not None:
            _same(f"entry {head.seq} of {bank}'s ledger", extend(since, said.head.links), head.hash)
        if known and head.seq <= max(known):
            _same(f"an entry of {bank}'s ledger after {max(known)}", True, known.get(head.seq) == head.hash)
        known[head.seq] = head.hash


def _same(what: str, expected: object, got: object) -> None:
    if expected != got:
        raise LedgerBroken(expected=f"{what}: {expected}", got=str(got))
