"""The ledger's two tables: where each chain stands, and its entries, which nobody can change or delete."""

from __future__ import annotations

from django.db import models

from clientagent.wire.ledger import GENESIS
from clientagent.wire.ledger import Entry as SealedEntry


class Chain(models.Model):
    """One hash chain: ``consortium``, ``project/SLUG`` or ``run/ID``. Its head row is locked last in any transaction."""

    name = models.CharField(max_length=120, primary_key=True)
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    seq = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=GENESIS)

    def __str__(self) -> str:
        return self.name


class Epoch(models.Model):
    """A life of this portal. A restore from a backup opens the next one: what came after the backup may be known outside."""

    number = models.PositiveIntegerField(primary_key=True)
    opened_at = models.DateTimeField(auto_now_add=True)
    reason = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"epoch {self.number}"


class Entry(models.Model):
    """One sealed fact. ``body`` is JSON; ``hash`` chains it to the entry before."""

    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="entries")
    seq = models.PositiveBigIntegerField()
    at_utc = models.CharField(max_length=40)
    kind = models.CharField(max_length=60)
    actor = models.CharField(max_length=200)
    body = models.JSONField()
    content_digest = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["chain", "seq"]
        constraints = [models.UniqueConstraint(fields=["chain", "seq"], name="audit_entry_unique_seq")]
        indexes = [models.Index(fields=["kind"], name="audit_entry_kind")]

    def __str__(self) -> str:
        return f"{self.chain_id} #{self.seq} {self.kind}"

    @property
    def sealed(self) -> SealedEntry:
        """The entry as it is hashed."""
        return SealedEntry(
            chain=self.chain_id, seq=self.seq, at_utc=self.at_utc, kind=self.kind, actor=self.actor, body=self.body
        )
