"""The bank's memory of the portal's ledger: each head that it is shown must extend the last one it saw.

Every request carries the last head seen; the answer carries the next head and the content digests in between. A portal
that rewrote an entry cannot make its new head extend the old one, and both heads bear its signature. Only a portal that
signs that it was restored from a backup (a higher epoch) may begin anew: said loudly, with the old head kept as evidence.
"""

from __future__ import annotations

import logging

from clientagent.home import Home
from clientagent.wire.errors import LedgerBroken
from clientagent.wire.ledger import GENESIS, seal
from clientagent.wire.messages import Head, HeadUpdate
from clientagent.wire.signing import PublicKey, open_signed

log = logging.getLogger("fedagent.witness")


class Witness:
    """Keeps the heads of the chains that this agent was shown."""

    def __init__(self, home: Home, root: PublicKey) -> None:
        self._home, self._root = home, root
        self._known: dict[str, Head] = {head.chain: head for head in home.heads()}

    @property
    def epoch(self) -> int:
        """The highest epoch among the heads that were accepted."""
        return max((head.epoch for head in self._known.values()), default=0)

    def last(self, chain: str) -> Head | None:
        return self._known.get(chain)

    def check(self, update: HeadUpdate, sent: Head | None) -> None:
        """Accept a head that extends the known one; ``sent`` is what the request said it had seen.

        A head whose connection the answer does not show (it was asked about another chain) is left aside: the known
        one stays, and the next request about this chain must prove the extension. Raises ``LedgerBroken``.
        """
        head = open_signed(update.head, self._root, Head)
        asked = sent if sent is not None and sent.chain == head.chain else None
        known = self._known.get(head.chain)
        try:
            proven = self._judge(update, head, asked)
        except LedgerBroken as error:
            self._home.save_evidence(head, update)
            if known is None or head.epoch <= known.epoch:
                raise
            log.critical("%s. The portal says that it was restored from a backup (epoch %d)", error.sentence, head.epoch)
            proven, known = True, None
        if known is None or (proven and head.seq > known.seq):
            self._known[head.chain] = head
            self._home.save_head(update.head)

    def _judge(self, update: HeadUpdate, head: Head, asked: Head | None) -> bool:
        """Whether the answer proves the head."""
        known = self._known.get(head.chain)
        if known is not None and head.epoch < known.epoch:
            raise LedgerBroken(expected=f"epoch {known.epoch} of the portal", got=f"epoch {head.epoch}")
        if asked is not None and head.seq < asked.seq:
            raise LedgerBroken(expected=f"at least {asked.seq} entries of {head.chain}", got=f"{head.seq}: some are gone")
        start = self._start(update, head, asked)
        if start is not None:
            _walk(update, head, start, known)
        elif asked is not None:
            raise LedgerBroken(
                expected=f"links from entry {asked.seq} of {head.chain} to {head.seq}",
                got=f"{len(update.links)} links from entry {update.since_seq}",
            )
        return start is not None

    def _start(self, update: HeadUpdate, head: Head, asked: Head | None) -> str | None:
        """The hash at ``since_seq`` if we know it and the links span the way to the head."""
        if update.since_seq + len(update.links) != head.seq:
            return None
        if update.since_seq == 0:
            return GENESIS
        known = self._known.get(head.chain)
        for one in (known, asked):
            if one is not None and one.seq == update.since_seq:
                return one.hash
        return None


def _walk(update: HeadUpdate, head: Head, start: str, known: Head | None) -> None:
    """Seal link by link; the way must pass the known head and end at the new one."""
    here, seq = start, update.since_seq
    for link in [None, *update.links]:
        if link is not None:
            here, seq = seal(here, link), seq + 1
        if known is not None and seq == known.seq and here != known.hash:
            raise LedgerBroken(expected=f"{known.hash[:16]} at entry {seq} of {head.chain}", got=here[:16])
    if here != head.hash:
        raise LedgerBroken(expected=f"the head {head.hash[:16]} of {head.chain}", got=f"links that lead to {here[:16]}")
