"""The registry's tables: which versions a project keeps, in which status, and who was champion when."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from rounds.lifecycle import Status


class Registration(models.Model):
    """A version that a project considers. A project has at most one champion: the database says so."""

    version = models.OneToOneField("rounds.ModelVersion", on_delete=models.PROTECT, related_name="registration")
    project = models.ForeignKey("rounds.Project", on_delete=models.PROTECT, related_name="registrations")
    status = models.CharField(max_length=10, choices=[(str(s), str(s)) for s in Status], default=str(Status.CANDIDATE))
    registered_at = models.DateTimeField()
    moved_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True)  # of the last move

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project"], condition=Q(status="champion"), name="one_champion_per_project")
        ]


class Reign(models.Model):
    """The time in which a version was champion; ``until_at`` is empty while it is."""

    project = models.ForeignKey("rounds.Project", on_delete=models.PROTECT, related_name="reigns")
    version = models.ForeignKey("rounds.ModelVersion", on_delete=models.PROTECT, related_name="reigns")
    since_at = models.DateTimeField()
    until_at = models.DateTimeField(null=True)
    is_rollback = models.BooleanField(default=False)
    reason = models.TextField()
    end_reason = models.TextField(blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ["-since_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["project"], condition=Q(until_at=None), name="one_open_reign_per_project"),
            models.CheckConstraint(condition=Q(until_at=None) | Q(until_at__gte=F("since_at")), name="reign_ends_after_it_begins"),
        ]
