"""The signed head that portal answers carry, with what proves that it extends the head the agent saw last (invariant 8)."""

from __future__ import annotations

from audit import selectors as audit
from audit.services import utc_text
from clientagent.wire.messages import Head, HeadUpdate
from clientagent.wire.signing import sign_document
from institutions.portal_key import portal_key

MAX_LINKS = 100_000


def head_update(chain: str, seen: str) -> HeadUpdate:
    """Where the chain stands. ``seen`` is ``chain;seq;hash`` as the agent signed it, or empty.

    A head that is not of this chain, or not on it, is answered with the links from the beginning; the agent judges.
    """
    seq, hash_ = audit.head_of(chain)
    since = _seen_seq(chain, seen, upto=seq)
    head = Head(chain=chain, seq=seq, hash=hash_, at_utc=utc_text(), epoch=audit.epoch())
    return HeadUpdate(
        head=sign_document(head, portal_key()), since_seq=since, links=audit.links_since(chain, since, upto=seq)[:MAX_LINKS]
    )


def _seen_seq(chain: str, seen: str, *, upto: int) -> int:
    name, _, rest = seen.partition(";")
    seq_text, _, hash_ = rest.partition(";")
    if name != chain or not seq_text.isascii() or not seq_text.isdigit() or len(seq_text) > 12 or int(seq_text) > upto:
        return 0
    seq = int(seq_text)
    return seq if audit.hash_at(chain, seq) == hash_ else 0
