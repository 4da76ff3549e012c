"""Executions of a plan: runs, and the institutions seated in each."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models

from clientagent.wire.messages import RosterEntry, RunManifest
from institutions.models import Agent, AgentKey, Institution
from rounds.lifecycle import RunState, choices
from rounds.models.projects import Plan

if TYPE_CHECKING:
    from rounds.models.versions import ModelVersion


def chain_of(run_id: uuid.UUID | str) -> str:
    """The name of a run's chain on the ledger."""
    return f"run/{run_id}"


class Run(models.Model):
    """The execution of one plan. ``deadline_at`` bounds the state that it is in; nobody waits without an end."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="runs")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=choices(RunState), default=str(RunState.DRAFT))
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    deadline_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    closing_at = models.DateTimeField(null=True)  # the last round is published; its evaluation is awaited
    ended_at = models.DateTimeField(null=True)
    manifest = models.JSONField(null=True)
    manifest_digest = models.CharField(max_length=64, blank=True)
    preprocessing = models.JSONField(null=True)
    inputs = models.PositiveIntegerField(null=True)
    parameters = models.PositiveBigIntegerField(null=True)
    selected = models.ForeignKey("ModelVersion", null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["state"], name="run_state")]

    def __str__(self) -> str:
        return f"{self.plan.project} · run {self.number}"

    @property
    def chain(self) -> str:
        return chain_of(self.id)

    @property
    def roster(self) -> dict[str, RosterEntry]:
        """Who takes part, by slug, as the RunManifest says; empty before it is signed."""
        if self.manifest is None:
            return {}
        return {entry.institution: entry for entry in RunManifest.model_validate(self.manifest["document"]).roster}

    @property
    def is_async(self) -> bool:
        return self.plan.document.schedule.mode == "async"

    @property
    def total_versions(self) -> int:
        """How many versions the run will publish; async spends as many updates as sync would."""
        return self.plan.document.versions(len(self.roster) or len(self.plan.document.participants))

    @property
    def last_version(self) -> ModelVersion:
        return self.versions.order_by("-number")[0]


class Seat(models.Model):
    """One institution's place in a run: whether it takes part, with which key, with how many rows."""

    class State(models.TextChoices):
        INVITED = "invited"
        APPROVED = "approved"
        REFUSED = "refused"
        COUNTED = "counted"  # its statistics are in
        UNFIT = "unfit"  # its data do not fit the plan
        SEATED = "seated"  # on the roster
        ABSENT = "absent"  # did not answer in time
        DROPPED = "dropped"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="seats")
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="seats")
    state = models.CharField(max_length=10, choices=State, default=State.INVITED)
    column = models.CharField(max_length=128, blank=True)
    reason = models.TextField(blank=True)
    agent = models.ForeignKey(Agent, null=True, on_delete=models.PROTECT)
    key = models.ForeignKey(AgentKey, null=True, on_delete=models.PROTECT)
    statistics = models.JSONField(null=True)
    statistics_digest = models.CharField(max_length=64, blank=True)
    rows = models.PositiveBigIntegerField(null=True)
    weight = models.FloatField(null=True)
    acknowledged_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["institution__slug"]
        constraints = [models.UniqueConstraint(fields=["run", "institution"], name="one_seat_per_run_and_bank")]
