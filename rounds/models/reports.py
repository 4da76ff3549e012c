"""What people found out about a plan and attached to it, word for word: leakage self-tests and rehearsals."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from clientagent.wire.leakage import LeakTest
from rounds.rehearsal.result import Rehearsal


class Report(models.Model):
    """``text`` is what a command printed, in canonical JSON; ``institution`` is null where an administrator attached it."""

    text = models.TextField()
    digest = models.CharField(max_length=64)
    institution = models.ForeignKey("institutions.Institution", null=True, on_delete=models.PROTECT, related_name="+")
    attached_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    attached_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        ordering = ["-attached_at", "-pk"]

    def __str__(self) -> str:
        return self.digest[:12]


class LeakReport(Report):
    """What ``fedagent leaktest --json`` printed."""

    plan = models.ForeignKey("rounds.Plan", on_delete=models.PROTECT, related_name="leak_reports")

    class Meta(Report.Meta):
        constraints = [models.UniqueConstraint(fields=["plan", "digest"], name="a_leak_test_is_attached_once")]

    @property
    def test(self) -> LeakTest:
        return LeakTest.model_validate_json(self.text)


class RehearsalReport(Report):
    """What ``simulate --json`` wrote, as far as the portal shows it."""

    plan = models.ForeignKey("rounds.Plan", on_delete=models.PROTECT, related_name="rehearsals")

    class Meta(Report.Meta):
        constraints = [models.UniqueConstraint(fields=["plan", "digest"], name="a_rehearsal_is_attached_once")]

    @property
    def rehearsal(self) -> Rehearsal:
        return Rehearsal.model_validate_json(self.text)
