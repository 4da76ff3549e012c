"""Reads of the ledger: heads, links between heads, whole chains."""

from __future__ import annotations

from django.db.models import Max

from audit.models import Chain, Entry, Epoch
from clientagent.wire.ledger import GENESIS, verify_chain


def head_of(chain: str) -> tuple[int, str]:
    """(seq, hash) where the chain stands; (0, GENESIS) before its first entry."""
    row = Chain.objects.filter(name=chain).values_list("seq", "hash").first()
    return row or (0, GENESIS)


def epoch() -> int:
    """Which life of the portal this is: 0 until the first restore."""
    return Epoch.objects.aggregate(last=Max("number"))["last"] or 0


def links_since(chain: str, seq: int, *, upto: int) -> list[str]:
    """Content digests of the entries after ``seq`` up to and with ``upto``, in order."""
    rows = Entry.objects.filter(chain_id=chain, seq__gt=seq, seq__lte=upto).order_by("seq")
    return list(rows.values_list("content_digest", flat=True))


def hash_at(chain: str, seq: int) -> str | None:
    if seq == 0:
        return GENESIS
    return Entry.objects.filter(chain_id=chain, seq=seq).values_list("hash", flat=True).first()


def entries_of(chain: str) -> list[Entry]:
    return list(Entry.objects.filter(chain_id=chain).order_by("seq"))


def verify(chain: str) -> str:
    """Recompute a chain from its rows and return its head's hash. Raises ``LedgerBroken``."""
    rows = Entry.objects.filter(chain_id=chain).order_by("seq").iterator()
    return verify_chain(((row.sealed, row.hash) for row in rows), chain=chain)
