"""What the portal signs before and during a run: manifest, orders; and what an agent says while it works."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from clientagent.wire.messages.basis import Count, Digest, Id, Instant, Message, Text, is_none
from clientagent.wire.messages.ledger import HeadUpdate
from clientagent.wire.messages.preprocessing import PreprocessingSpec
from clientagent.wire.plan import Slug
from clientagent.wire.signing import Document, Signed


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
    ``state_digest``: the server's vectors of the base where a bank trains with them; null while they are zero.
    ``aggregated``: this bank's last update that was used; what the bank kept with that one is what it goes on from.
    ``clip``: where the plan's clip adapts, the base version's, to which an update from it is cut.
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
    state_digest: Digest | None = None
    aggregated: Digest | None = None
    clip: Annotated[float, Field(gt=0)] | None = Field(None, exclude_if=is_none)
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
    """GET work?wait=: one signed ``PlanNotice``, ``StatisticsOrder``, ``WorkOrder`` or ``CohortNotice`` (204 when there is none)."""

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
