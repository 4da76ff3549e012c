"""What the portal knows of the banks' privacy ledgers: where each stands, what it tells of, and whether it stands still."""

from __future__ import annotations

from django.db import models

from clientagent.wire.messages.privacy import Unit


class PrivacyAccount(models.Model):
    """One privacy ledger of one bank, as far as its agent showed it. ``locked`` says why nothing more is taken from it.

    ``unit`` record: ``subject`` is the bank's own name of a dataset lineage; ``epsilon`` and ``delta`` are what the bank says it has
    spent, over all its projects. ``unit`` institution: ``subject`` is a project's slug, and the portal counts itself. ``budget``: the
    bank's own bound, null where it set none.
    """

    institution = models.ForeignKey("institutions.Institution", on_delete=models.PROTECT, related_name="privacy_accounts")
    unit = models.CharField(max_length=12, default="record")
    subject = models.CharField(max_length=128)
    epoch = models.PositiveIntegerField(default=0)
    seq = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64)
    countersigned = models.JSONField(null=True)
    epsilon = models.FloatField(default=0)
    delta = models.FloatField(null=True)
    budget = models.FloatField(null=True)
    locked = models.JSONField(null=True)
    locked_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["institution__slug", "subject"]
        constraints = [models.UniqueConstraint(fields=["institution", "unit", "subject"], name="one_privacy_account_per_subject")]

    def __str__(self) -> str:
        return f"{self.institution} · {self.subject}"

    @property
    def whose(self) -> Unit:
        """``unit``, in its type."""
        return "institution" if self.unit == "institution" else "record"


class PrivacyLink(models.Model):
    """The hash of one entry of a bank's privacy ledger; another one at its place shows another history."""

    account = models.ForeignKey(PrivacyAccount, on_delete=models.CASCADE, related_name="links")
    epoch = models.PositiveIntegerField()
    seq = models.PositiveBigIntegerField()
    hash = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "epoch", "seq"], name="one_hash_per_privacy_entry")]


class PrivacyRelease(models.Model):
    """One release that reached the portal, used or not: accepted, late or refused, its privacy is spent. Round 0: statistics."""

    account = models.ForeignKey(PrivacyAccount, on_delete=models.PROTECT, related_name="releases")
    run = models.ForeignKey("rounds.Run", on_delete=models.PROTECT, related_name="privacy_releases")
    round = models.PositiveIntegerField()
    release = models.CharField(max_length=64)
    event = models.JSONField()
    run_epsilon = models.FloatField()
    at = models.DateTimeField()

    class Meta:
        ordering = ["run", "round"]
        constraints = [models.UniqueConstraint(fields=["account", "run", "release"], name="a_release_is_spent_once")]
