"""What comes of it: model versions, their evaluations, and what banks found on their own customers."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from institutions.models import Institution
from rounds.models.rounds import Round
from rounds.models.runs import Run
from rounds.models.updates import Blob


class ModelVersion(models.Model):
    """Immutable weights, identified by (run, number). Two versions may hold equal weights.

    ``state``: the server's own vectors (momenta, control variates) that belong to these weights; null where there are none, or
    where all are still zero. ``clip``: where the plan's clip adapts, the norm to which updates from these weights are cut.
    """

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT)
    bytes = models.PositiveBigIntegerField()
    state = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="versions_of_state")
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    round = models.OneToOneField(Round, null=True, on_delete=models.PROTECT, related_name="version")
    clip = models.FloatField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    validation_loss = models.FloatField(null=True)
    pooled = models.JSONField(null=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="one_version_per_number"),
            models.CheckConstraint(
                condition=Q(number=0, parent=None, round=None) | Q(number__gt=0, parent__isnull=False, round__isnull=False),
                name="version_has_its_lineage",
            ),
        ]

    def __str__(self) -> str:
        return f"v{self.number}"


class Appraisal(models.Model):
    """What one bank said of a run's result once it held it: training distribution, groups of customers, what it gained."""

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="appraisals")
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="appraisals")
    document = models.JSONField()
    received_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "institution"], name="a_result_is_appraised_once")]


class Evaluation(models.Model):
    """How one version scores one bank's customers, as counts per score bin."""

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations")
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="evaluations")
    counts = models.JSONField()
    validation = models.JSONField()
    holdout = models.JSONField()
    received_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "institution"], name="a_version_is_evaluated_once")]
