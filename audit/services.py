"""How a fact gets onto the ledger: sealed to its chain in the caller's transaction."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Max
from django.utils import timezone

from audit.models import Chain, Entry, Epoch
from clientagent.wire.ledger import Entry as SealedEntry
from clientagent.wire.ledger import seal

CONSORTIUM = "consortium"


def append(*, chain: str, kind: str, actor: str, body: dict[str, Any]) -> Entry:
    """Seal one entry. Call it last in the transaction that makes the fact true: it locks the chain's head row."""
    if not connection.in_atomic_block:
        raise RuntimeError("a ledger entry belongs in the transaction of the fact that it records")
    head = open_chain(name=chain)
    sealed = SealedEntry(
        chain=chain, seq=head.seq + 1, at_utc=utc_text(), kind=kind, actor=actor, body=body
    )
    digest = sealed.content_digest
    head.seq, head.hash = sealed.seq, seal(head.hash, digest)
    head.save(update_fields=["seq", "hash"])
    return Entry.objects.create(
        chain=head, seq=sealed.seq, at_utc=sealed.at_utc, kind=kind, actor=actor, body=body,
        content_digest=digest, hash=head.hash,
    )


def open_chain(*, name: str) -> Chain:
    """The chain's head row, locked; made on first use under its parent (run below project below consortium)."""
    existing = Chain.objects.select_for_update().filter(name=name).first()
    if existing:
        return existing
    parent = None if name == CONSORTIUM else Chain.objects.get_or_create(name=CONSORTIUM)[0]
    Chain.objects.get_or_create(name=name, defaults={"parent": parent})
    return Chain.objects.select_for_update().get(name=name)


def anchor(*, chain: str, into: str, actor: str = "portal") -> Entry:
    """Write a child's head into its parent, so that one chain's history holds the other's in place."""
    head = open_chain(name=chain)
    Chain.objects.filter(name=chain).update(parent=open_chain(name=into))
    return append(chain=into, kind="chain_anchored", actor=actor, body={"chain": chain, "seq": head.seq, "hash": head.hash})


def open_epoch(*, actor: str, reason: str) -> Epoch:
    """Begin a new life of the portal after a restore, and say so on the consortium's chain."""
    number = (Epoch.objects.aggregate(last=Max("number"))["last"] or 0) + 1
    epoch = Epoch.objects.create(number=number, reason=reason)
    append(chain=CONSORTIUM, kind="portal_restored", actor=actor, body={"epoch": number, "reason": reason})
    return epoch


def utc_text() -> str:
    """Now, as the wire writes instants."""
    return timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
