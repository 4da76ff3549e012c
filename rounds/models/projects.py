"""What is to be trained: projects, plans, and who said yes or no to a plan."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from django.db import models

from clientagent.wire.plan import Plan as PlanSchema
from institutions.models import Institution

MOST_EPSILON = 1000.0
"""Beyond that a budget bounds nothing."""


class Project(models.Model):
    """A modelling purpose that institutions share.

    ``institution_epsilon``: what each bank as a whole may lose in it, over all its plans (the smallest delta of them); null: no bound.
    """

    class Purpose(models.TextChoices):
        CREDIT = "credit"
        FRAUD = "fraud"

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=120)
    purpose = models.CharField(max_length=10, choices=Purpose, default=Purpose.CREDIT)
    description = models.TextField(blank=True)
    participants = models.ManyToManyField(Institution, related_name="projects", blank=True)
    institution_epsilon = models.FloatField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name

    @property
    def chain(self) -> str:
        return f"project/{self.slug}"


class Plan(models.Model):
    """A frozen plan. ``text`` is its canonical JSON, ``hash`` the SHA-256 of that; neither ever changes."""

    hash = models.CharField(max_length=64, unique=True)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="plans")
    title = models.CharField(max_length=120, blank=True)
    text = models.TextField()
    signed = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.title or self.hash[:12]

    @property
    def document(self) -> PlanSchema:
        return _parsed(self.text)


@lru_cache(maxsize=256)
def _parsed(text: str) -> PlanSchema:
    """A plan never changes, and is asked for dozens of times a round."""
    return PlanSchema.model_validate_json(text)


class PlanDecision(models.Model):
    """A bank's word on a plan, as its agent signed it. ``pending`` says that a person there must look."""

    class Decision(models.TextChoices):
        APPROVED = "approved"
        REFUSED = "refused"
        PENDING = "pending"

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="decisions")
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="plan_decisions")
    decision = models.CharField(max_length=10, choices=Decision)
    by = models.CharField(max_length=10)
    reason = models.TextField(blank=True)
    signed = models.JSONField()
    decided_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "institution"], name="one_decision_per_plan_and_bank")]


class PortalApproval(models.Model):
    """An operator's click in the browser. Its bank's agent acts on it only where policy.toml trusts it."""

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="portal_approvals")
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="portal_approvals")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "institution"], name="one_portal_approval")]
