"""The signed head that portal answers carry, with what proves that it extends the head the agent saw last (invariant 8)."""

from __future__ import annotations

from audit import selectors as audit
from audit.services import utc_text
from clientagent.wire.ledger import GENESIS
from clientagent.wire.messages import Head, HeadUpdate
from clientagent.wire.signing import sign_document
from institutions.portal_key import portal_key

MAX_LINKS = 100_000


def head_update(chain: str, seen: str) -> HeadUpdate:
    """Where the chain stands. ``seen`` is ``chain;seq;hash`` as the agent signed it, or empty.

    A head that is not of this chain, or not on it, is answered with the links from the beginning; the agent judges.
    """
    since, claimed = _seen(chain, seen)
    seq, hash_, links, known = audit.head_and_links(chain, since)
    if known != claimed:
        since = 0
        seq, hash_, links, _ = audit.head_and_links(chain, since)
    head = Head(chain=chain, seq=seq, hash=hash_, at_utc=utc_text(), epoch=audit.epoch())
    return HeadUpdate(head=sign_document(head, portal_key()), since_seq=since, links=links[:MAX_LINKS])


def _seen(chain: str, seen: str) -> tuple[int, str]:
    """(seq, hash) that the agent says it saw of this chain; the beginning when it says nothing of it."""
    name, _, rest = seen.partition(";")
    seq_text, _, hash_ = rest.partition(";")
    if name != chain or not seq_text.isascii() or not seq_text.isdigit() or len(seq_text) > 12 or int(seq_text) == 0:
        return 0, GENESIS
    return int(seq_text), hash_
