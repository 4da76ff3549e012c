"""Rounds, who takes part in each, and the cohorts that sum masked updates."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from institutions.models import Institution
from rounds.lifecycle import COHORT_LIVE, CohortStage, Phase, RoundState, choices
from rounds.models.runs import Run, Seat


class Round(models.Model):
    """One attempt at one global step. The row itself is the job: a lease says who computes, until when."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="rounds")
    number = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=12, choices=choices(RoundState), default=str(RoundState.OPEN))
    base = models.ForeignKey("ModelVersion", on_delete=models.PROTECT, related_name="rounds_from")
    needed = models.PositiveIntegerField()
    only_counts = models.BooleanField(default=False)  # the closing evaluation under masks: no version comes of it
    reason = models.TextField(blank=True)
    opened_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    aggregation = models.JSONField(null=True)
    noise_key = models.CharField(max_length=64, blank=True)  # a secret: whoever has it can take the noise off the sum
    noise = models.ForeignKey("Blob", null=True, on_delete=models.PROTECT, related_name="noise_of")
    aggregation_digest = models.CharField(max_length=64, blank=True)
    lease_owner = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        ordering = ["number", "attempt"]
        constraints = [
            models.UniqueConstraint(fields=["run", "number", "attempt"], name="one_row_per_attempt"),
            models.UniqueConstraint(
                fields=["run"], condition=Q(state__in=["open", "closing", "aggregating"]), name="one_live_round_per_run"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "abandoned"]) | ~Q(aggregation_digest=""), name="closed_round_has_its_manifest"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run} · round {self.number}" + (f" (attempt {self.attempt})" if self.attempt > 1 else "")


class Participation(models.Model):
    """One institution's work from one round's base: where it is, how far, and what came of it.

    ``slot`` is the attempt that WorkOrders name: the round's attempt in sync mode; in async mode a bank that is done may
    take another slot from the same base.
    """

    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="participations")
    seat = models.ForeignKey(Seat, on_delete=models.PROTECT, related_name="participations")
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="participations")
    slot = models.PositiveIntegerField(default=1)
    phase = models.CharField(max_length=10, choices=choices(Phase), default=str(Phase.INVITED))
    order = models.JSONField()
    problem = models.JSONField(null=True)
    epoch = models.PositiveIntegerField(default=0)
    epochs = models.PositiveIntegerField(default=0)
    batch = models.PositiveIntegerField(default=0)
    batches = models.PositiveIntegerField(default=0)
    bytes_sent = models.PositiveBigIntegerField(default=0)
    bytes_total = models.PositiveBigIntegerField(default=0)
    bytes_down = models.PositiveBigIntegerField(default=0)
    pulled_at = models.DateTimeField(null=True)
    training_at = models.DateTimeField(null=True)
    ready_at = models.DateTimeField(null=True)  # trained, and waiting to be masked
    uploading_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["institution__slug"]
        constraints = [models.UniqueConstraint(fields=["round", "institution", "slot"], name="one_participation_per_slot")]


class Cohort(models.Model):
    """Banks that sum masked updates in one attempt at a round, or their statistics before a ``run`` has rounds.

    ``stage`` is what they are awaited to send, until ``deadline_at``.
    """

    round = models.ForeignKey(Round, null=True, on_delete=models.PROTECT, related_name="cohorts")
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="statistics_cohorts")
    number = models.PositiveIntegerField(default=1)
    rid = models.CharField(max_length=64, unique=True)
    terms = models.JSONField()
    stage = models.CharField(max_length=12, choices=choices(CohortStage), default=str(CohortStage.KEYS))
    formed_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    mean = models.ForeignKey("Blob", null=True, on_delete=models.PROTECT, related_name="means")
    mean_norm = models.FloatField(null=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["round", "number"], name="one_cohort_per_number"),
            models.UniqueConstraint(
                fields=["round"], condition=Q(stage__in=[str(stage) for stage in COHORT_LIVE]), name="one_live_cohort_per_round"
            ),
            models.UniqueConstraint(
                fields=["run"], condition=Q(stage__in=[str(stage) for stage in COHORT_LIVE]), name="one_live_cohort_per_run"
            ),
            models.CheckConstraint(condition=Q(round=None) ^ Q(run=None), name="cohort_of_a_round_or_a_run"),
        ]


class CohortMessage(models.Model):
    """What one bank said in one stage of a cohort, as its agent signed it."""

    cohort = models.ForeignKey(Cohort, on_delete=models.PROTECT, related_name="messages")
    stage = models.CharField(max_length=12, choices=choices(CohortStage))
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="+")
    signed = models.JSONField()
    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cohort", "stage", "institution"], name="a_bank_speaks_once_in_a_stage")
        ]
