"""Leakage self-tests that people attached to a plan: what ``fedagent leaktest --json`` printed, word for word."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from clientagent.wire.leakage import LeakTest


class LeakReport(models.Model):
    """``text`` is the canonical JSON of a ``LeakTest``; ``institution`` is null where an administrator attached it."""

    plan = models.ForeignKey("rounds.Plan", on_delete=models.PROTECT, related_name="leak_reports")
    text = models.TextField()
    digest = models.CharField(max_length=64)
    institution = models.ForeignKey("institutions.Institution", null=True, on_delete=models.PROTECT, related_name="+")
    attached_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    attached_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-attached_at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["plan", "digest"], name="a_leak_test_is_attached_once")]

    def __str__(self) -> str:
        return self.digest[:12]

    @property
    def test(self) -> LeakTest:
        return LeakTest.model_validate_json(self.text)
