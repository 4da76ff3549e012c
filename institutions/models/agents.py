"""Agents: installations at a bank, the keys that they speak with, and the codes that they enrol by."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from clientagent.wire.signing import PublicKey, short
from institutions.models.institution import Institution
from institutions.models.people import User


class EnrolmentCode(models.Model):
    """Lets one agent of an institution introduce itself, once and for a while. Only the secret's hash is kept."""

    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="enrolment_codes")
    secret_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]

    def is_open(self, now: dt.datetime) -> bool:
        return self.used_at is None and now < self.expires_at


class Agent(models.Model):
    """One installation. ``pending`` until an administrator has compared fingerprints."""

    class State(models.TextChoices):
        PENDING = "pending", _("waiting for approval")
        APPROVED = "approved", _("approved")
        REVOKED = "revoked", _("revoked")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="agents")
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    enrolment_code = models.OneToOneField(EnrolmentCode, null=True, on_delete=models.PROTECT, related_name="agent")
    created_at = models.DateTimeField(auto_now_add=True)
    approved_at = models.DateTimeField(null=True)
    approved_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    last_seen_at = models.DateTimeField(null=True)
    version = models.CharField(max_length=40, blank=True)
    protocol = models.PositiveSmallIntegerField(null=True)
    clock_skew_s = models.IntegerField(null=True)

    class Meta:
        ordering = ["institution__slug", "-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=["pending", "approved", "revoked"]), name="agent_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state="approved") | Q(approved_at__isnull=False), name="an_approved_agent_says_when"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def actor(self) -> str:
        """How the ledger names this agent."""
        return f"agent:{self.id}"


class AgentKey(models.Model):
    """A public key that an agent signs with, valid between two entries of the ledger."""

    class State(models.TextChoices):
        PENDING = "pending", _("waiting for approval")
        ACTIVE = "active", _("active")
        REVOKED = "revoked", _("revoked")

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="keys")
    public_key = models.CharField(max_length=60)
    fingerprint = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=["pending", "active", "revoked"]), name="key_state_is_known"),
            models.CheckConstraint(
                condition=Q(state="revoked", revoked_at__isnull=False) | (~Q(state="revoked") & Q(revoked_at__isnull=True)),
                name="a_revoked_key_says_when",
            ),
        ]

    def __str__(self) -> str:
        return self.short_fingerprint

    @property
    def short_fingerprint(self) -> str:
        """As people compare it."""
        return short(self.fingerprint)

    @property
    def key(self) -> PublicKey:
        return PublicKey.from_text(self.public_key)
