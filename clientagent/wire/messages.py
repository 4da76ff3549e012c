"""What agent and portal say to each other. Every body is one of these, parsed once at the door.

``Document`` subclasses are signed (by the portal or by the agent); plain ``Message`` subclasses only travel.
Instants are UTC, ISO 8601 with a ``Z``; digests are SHA-256 in lower-case hexadecimal.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from clientagent.wire.plan import Column, Slug
from clientagent.wire.signing import Document, Signed

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")]
Instant = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
Text = Annotated[str, StringConstraints(max_length=2000)]
Count = Annotated[int, Field(ge=0, le=10**12)]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# ------------------------------------------------------------------ enrolment
class EnrolmentRequest(Message):
    """POST enrolments. The HTTP signature with the new key proves that the bank holds it."""

    code: Annotated[str, StringConstraints(min_length=8, max_length=200)]
    public_key: Annotated[str, StringConstraints(max_length=100)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    agent_version: Annotated[str, StringConstraints(max_length=40)]


class Enrolment(Document):
    """GET enrolments/{agent_id} and the answer to POST: signed by the portal's root key, spelt out in ``root_key``."""

    type: Literal["enrolment"] = "enrolment"
    agent_id: Id
    institution: Slug
    institution_name: Text
    key_fingerprint: Digest
    state: Literal["pending", "approved", "revoked"]
    root_key: str
    at_utc: Instant


# ---------------------------------------------------------------------- ledger
class Head(Document):
    """The portal's signed word for where a chain stands."""

    type: Literal["ledger_head"] = "ledger_head"
    chain: str
    seq: Count
    hash: Digest
    at_utc: Instant
    epoch: Count = 0


class HeadUpdate(Message):
    """A head, and the content digests of the entries since the head that the agent said it saw.

    Enough to check that the one extends the other.
    """

    head: Signed
    since_seq: Count
    links: list[Digest] = Field(max_length=100_000)


# ----------------------------------------------------------------------- plans
class PlanDocument(Document):
    """GET plans/{hash}: the plan under the portal's signature."""

    type: Literal["plan"] = "plan"
    plan: dict[str, object]
    plan_hash: Digest


class PlanNotice(Document):
    """Work: a run of this plan waits for this bank's word."""

    type: Literal["plan_notice"] = "plan_notice"
    run: Id
    project: Slug
    plan_hash: Digest
    portal_approval: bool = False


class Decision(Document):
    """POST plans/{hash}/decisions: a bank's word on a plan, signed by its agent. ``pending``: a person must look."""

    type: Literal["decision"] = "decision"
    plan_hash: Digest
    institution: Slug
    decision: Literal["approved", "refused", "pending"]
    by: Literal["policy", "hand", "portal"]
    reason: Text = ""
    at_utc: Instant


# ------------------------------------------------------------------ statistics
class StatisticsOrder(Document):
    """Work: answer the statistics stage of an approved plan."""

    type: Literal["statistics_order"] = "statistics_order"
    run: Id
    plan_hash: Digest
    stage: Literal[1] = 1
    deadline_utc: Instant
    epoch: Count = 0


class NumericStatistics(Message):
    """Moments of the training rows that have a value: n, mean, and m2, the sum of squared deviations from the mean."""

    name: Column
    count: Count
    mean: float
    m2: Annotated[float, Field(ge=0)]
    missing: Count


class CategoricalStatistics(Message):
    """Customers in each category; categories below ``min_cell`` are counted together in ``other``."""

    name: Column
    counts: dict[str, Count]
    other: Count
    missing: Count


class StatisticsReport(Document):
    """POST statistics: sums over one bank's training rows. Answered once for each plan and state of the data."""

    type: Literal["statistics_report"] = "statistics_report"
    run: Id
    plan_hash: Digest
    institution: Slug
    stage: Literal[1] = 1
    rows: Count
    validation_rows: Count
    holdout_rows: Count
    numeric: list[NumericStatistics]
    categorical: list[CategoricalStatistics]
    data_digest: Digest


class Unfit(Document):
    """POST statistics, instead of a report: this bank's data do not fit the plan, and why."""

    type: Literal["unfit"] = "unfit"
    run: Id
    plan_hash: Digest
    institution: Slug
    column: str = ""
    reason: Text


class NumericInput(Message):
    """z = clip((x - mean) / scale, -clip, clip); missing becomes 0, with an indicator input where ``indicator``."""

    name: Column
    mean: float
    scale: Annotated[float, Field(gt=0)]
    clip: float = 8.0
    indicator: bool = False


class CategoricalInput(Message):
    """One input for each category, one for all others where ``other``, one for missing where ``missing``."""

    name: Column
    categories: list[str]
    other: bool = True
    missing: bool = False


class PreprocessingSpec(Document):
    """Frozen before round 1, the same for all banks. The order of inputs is that of the lists, numbers first."""

    type: Literal["preprocessing"] = "preprocessing"
    plan_hash: Digest
    numeric: list[NumericInput]
    categorical: list[CategoricalInput]

    @property
    def input_names(self) -> list[str]:
        names = []
        for number in self.numeric:
            names += [number.name] + [f"{number.name} (missing)"] * number.indicator
        for category in self.categorical:
            names += [f"{category.name}={value}" for value in category.categories]
            names += [f"{category.name} (other)"] * category.other + [f"{category.name} (missing)"] * category.missing
        return names


# ----------------------------------------------------------------- run and work
class RosterEntry(Message):
    institution: Slug
    agent_id: Id
    public_key: str
    key_fingerprint: Digest
    rows: Count
    validation_rows: Count
    holdout_rows: Count
    weight: Annotated[float, Field(ge=0, le=1)]


class RunManifest(Document):
    """What the portal signs before round 1. Changing any of it is a new manifest."""

    type: Literal["run_manifest"] = "run_manifest"
    run: Id
    project: Slug
    plan_hash: Digest
    roster: list[RosterEntry]
    preprocessing_digest: Digest
    inputs: Count
    parameters: Count
    initial_digest: Digest
    rules_version: int = 1
    created_utc: Instant
    epoch: Count = 0


class ManifestAnswer(Message):
    """GET runs/{id}/manifest."""

    manifest: Signed
    preprocessing: PreprocessingSpec


class WorkOrder(Document):
    """One signed piece of work for one agent.

    ``train``: evaluate the base where ``evaluate`` says so, train from it, upload the update.
    ``evaluate``: only evaluate the base. ``collect``: fetch the run's result, verify, store, acknowledge.
    """

    type: Literal["work_order"] = "work_order"
    kind: Literal["train", "evaluate", "collect"]
    run: Id
    institution: Slug
    manifest_digest: Digest
    round: Count
    attempt: Count
    base_number: Count
    base_digest: Digest
    base_bytes: Count
    evaluate: bool
    deadline_utc: Instant
    epoch: Count = 0


class WorkRefusal(Document):
    """POST refusals: this agent will not or cannot do a piece of work, and why. The bank is out of that round."""

    type: Literal["work_refusal"] = "work_refusal"
    run: Id
    institution: Slug
    round: Count
    attempt: Count
    code: Annotated[str, StringConstraints(max_length=60)]
    reason: Text


class WorkAnswer(Message):
    """GET work?wait=: one signed ``PlanNotice``, ``StatisticsOrder`` or ``WorkOrder`` (204 when there is none)."""

    order: Signed
    head: HeadUpdate | None = None


class Progress(Message):
    """POST progress: where an agent is. Not on the ledger, may be lost."""

    run: Id
    round: Count
    attempt: Count
    phase: Literal["pulled", "training", "uploading"]
    epoch: Count = 0
    epochs: Count = 0
    batch: Count = 0
    batches: Count = 0
    bytes_sent: Count = 0
    bytes_total: Count = 0


# ------------------------------------------------------------------- evaluation
class SplitCounts(Message):
    """Customers of one split by score bin: rows of (bin, good, bad), ascending, only bins that hold anybody."""

    rows: Count
    loss_sum: Annotated[float, Field(ge=0)]
    bins: list[tuple[Count, Count, Count]]


class EvaluationCounts(Message):
    """How one version scores one bank's customers."""

    number: Count
    version_digest: Digest
    validation: SplitCounts
    holdout: SplitCounts


class EvaluationReport(Document):
    """POST evaluations: the closing evaluation of a run's last version."""

    type: Literal["evaluation_report"] = "evaluation_report"
    run: Id
    manifest_digest: Digest
    institution: Slug
    counts: EvaluationCounts


# ----------------------------------------------------------------------- updates
class Environment(Message):
    """Where an update was computed, for whoever replays it."""

    agent_version: str
    python: str
    numpy: str
    torch: str = ""
    threads: int = 1


class UpdateManifest(Document):
    """What an agent says about its update; the agent's signature makes it the receipt's first half."""

    type: Literal["update_manifest"] = "update_manifest"
    run: Id
    manifest_digest: Digest
    round: Count
    attempt: Count
    base_number: Count
    base_digest: Digest
    institution: Slug
    agent_id: Id
    update_digest: Digest
    update_bytes: Count
    codec: Literal["none"] = "none"
    rows: Count
    norm: Annotated[float, Field(ge=0)]
    steps: Count
    train_loss: float | None
    training_s: Annotated[float, Field(ge=0)]
    counts: EvaluationCounts | None = None
    environment: Environment


class Receipt(Document):
    """The portal's countersignature: these bytes were received, with this outcome, at this place of the ledger."""

    type: Literal["receipt"] = "receipt"
    id: Id
    run: Id
    round: Count
    attempt: Count
    institution: Slug
    subject: Literal["update", "statistics", "evaluation", "acknowledgement", "decision", "refusal"]
    document_digest: Digest
    update_digest: Digest | None = None
    update_bytes: Count = 0
    outcome: Literal["accepted", "late"]
    chain: str
    seq: Count
    entry_hash: Digest
    at_utc: Instant


class ReceiptAnswer(Message):
    """The answer to updates, uploads/{id}/complete, statistics, evaluations, acknowledgements and decisions."""

    receipt: Signed
    head: HeadUpdate | None = None
    next: WorkAnswer | None = None


class UploadRequest(Message):
    """POST uploads: open a session for an update of more than one part."""

    manifest: Signed
    part_bytes: Annotated[int, Field(ge=1024, le=8 * 2**20)] = 8 * 2**20


class UploadState(Message):
    """The session: which parts are here already. Part n holds bytes n * part_bytes onwards, n from 0."""

    id: Id
    part_bytes: Count
    parts: Count
    received: list[Count]


class UploadComplete(Message):
    """POST uploads/{id}/complete."""

    update_digest: Digest


class Acknowledgement(Document):
    """POST runs/{id}/acknowledgements: the bank holds the run's result, verified."""

    type: Literal["acknowledgement"] = "acknowledgement"
    run: Id
    manifest_digest: Digest
    institution: Slug
    number: Count
    version_digest: Digest
    at_utc: Instant


# ------------------------------------------------------------------- aggregation
class AggregationEntry(Message):
    institution: Slug
    update_digest: Digest
    rows: Count
    weight: Annotated[float, Field(ge=0, le=1)]
    staleness: Count = 0


class AggregationManifest(Message):
    """What a closing round commits before any arithmetic: equal manifests give bit-identical models."""

    run: Id
    round: Count
    attempt: Count
    base_number: Count
    base_digest: Digest
    strategy: dict[str, object]
    entries: list[AggregationEntry]
