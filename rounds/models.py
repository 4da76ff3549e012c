"""The tables of a federation's work. What must always hold is a constraint here."""

from __future__ import annotations

import uuid
from functools import lru_cache

from django.conf import settings
from django.db import models
from django.db.models import Q

from clientagent.wire.messages import RosterEntry, RunManifest
from clientagent.wire.plan import Plan as PlanSchema
from institutions.models import Agent, AgentKey, Institution
from rounds.leak_tables import LeakReport as LeakReport
from rounds.lifecycle import COHORT_LIVE, CohortStage, Phase, RoundState, RunState
from rounds.privacy_tables import PrivacyAccount as PrivacyAccount
from rounds.privacy_tables import PrivacyLink as PrivacyLink
from rounds.privacy_tables import PrivacyRelease as PrivacyRelease
from rounds.register import Registration as Registration
from rounds.register import Reign as Reign


def _choices(states) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
    return [(str(state), str(state)) for state in states]


class Project(models.Model):
    """A modelling purpose that institutions share."""

    class Purpose(models.TextChoices):
        CREDIT = "credit"
        FRAUD = "fraud"

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=120)
    purpose = models.CharField(max_length=10, choices=Purpose, default=Purpose.CREDIT)
    description = models.TextField(blank=True)
    participants = models.ManyToManyField(Institution, related_name="projects", blank=True)
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


def chain_of(run_id: uuid.UUID | str) -> str:
    """The name of a run's chain on the ledger."""
    return f"run/{run_id}"


class Run(models.Model):
    """The execution of one plan. ``deadline_at`` bounds the state that it is in; nobody waits without an end."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="runs")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=_choices(RunState), default=str(RunState.DRAFT))
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


class Round(models.Model):
    """One attempt at one global step. The row itself is the job: a lease says who computes, until when."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="rounds")
    number = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=12, choices=_choices(RoundState), default=str(RoundState.OPEN))
    base = models.ForeignKey("ModelVersion", on_delete=models.PROTECT, related_name="rounds_from")
    needed = models.PositiveIntegerField()
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
    phase = models.CharField(max_length=10, choices=_choices(Phase), default=str(Phase.INVITED))
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
    """Banks that sum masked updates in one attempt at a round. ``stage`` is what they are awaited to send, until ``deadline_at``."""

    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="cohorts")
    number = models.PositiveIntegerField(default=1)
    rid = models.CharField(max_length=64, unique=True)
    terms = models.JSONField()
    stage = models.CharField(max_length=12, choices=_choices(CohortStage), default=str(CohortStage.KEYS))
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
        ]


class CohortMessage(models.Model):
    """What one bank said in one stage of a cohort, as its agent signed it."""

    cohort = models.ForeignKey(Cohort, on_delete=models.PROTECT, related_name="messages")
    stage = models.CharField(max_length=12, choices=_choices(CohortStage))
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="+")
    signed = models.JSONField()
    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cohort", "stage", "institution"], name="a_bank_speaks_once_in_a_stage")
        ]


class Blob(models.Model):
    """A reference count's anchor: bytes in the store that some row names. Read only through that row."""

    digest = models.CharField(max_length=64, primary_key=True)
    bytes = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)


class Upload(models.Model):
    """A session of numbered parts for one update."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    participation = models.ForeignKey(Participation, on_delete=models.PROTECT, related_name="uploads")
    manifest = models.JSONField()
    update_digest = models.CharField(max_length=64)
    total_bytes = models.PositiveBigIntegerField()
    part_bytes = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    completed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["participation", "update_digest"], name="one_session_per_update")
        ]

    @property
    def parts_expected(self) -> int:
        return -(-self.total_bytes // self.part_bytes)


class UploadPart(models.Model):
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upload", "number"], name="one_row_per_part")]


class Update(models.Model):
    """An accepted upload: the bytes, the agent's signed manifest and the portal's signed receipt.

    ``decoded`` is the plain file of ``plain_bytes`` bytes that a codec's bytes stand for; null where they are plain already.
    """

    participation = models.OneToOneField(Participation, on_delete=models.PROTECT, related_name="update")
    into = models.ForeignKey(Round, null=True, on_delete=models.PROTECT, related_name="counted")  # null: waits for a round
    staleness = models.PositiveIntegerField(default=0)
    digest = models.CharField(max_length=64)
    blob = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT)
    decoded = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="decoded_updates")
    bytes = models.PositiveBigIntegerField()
    plain_bytes = models.PositiveBigIntegerField(default=0)
    rows = models.PositiveBigIntegerField()
    norm = models.FloatField(null=True)  # null: masked, so nobody but the bank knows
    steps = models.PositiveBigIntegerField()
    train_loss = models.FloatField(null=True)
    base_loss = models.FloatField(null=True)
    training_s = models.FloatField()
    weight = models.FloatField(null=True)
    cosine = models.FloatField(null=True)
    manifest = models.JSONField()
    manifest_digest = models.CharField(max_length=64)
    received_at = models.DateTimeField()


class Receipt(models.Model):
    """The portal's signed word to a bank about one statement of its agent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="receipts")
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="receipts")
    subject = models.CharField(max_length=20)
    document_digest = models.CharField(max_length=64)
    signed = models.JSONField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-at"]
        constraints = [
            models.UniqueConstraint(fields=["institution", "document_digest"], name="same_statement_same_receipt")
        ]


class ModelVersion(models.Model):
    """Immutable weights, identified by (run, number). Two versions may hold equal weights.

    ``state``: the server's own vectors (momenta, control variates) that belong to these weights; null where there are none, or
    where all are still zero.
    """

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT)
    bytes = models.PositiveBigIntegerField()
    state = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="versions_of_state")
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    round = models.OneToOneField(Round, null=True, on_delete=models.PROTECT, related_name="version")
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
