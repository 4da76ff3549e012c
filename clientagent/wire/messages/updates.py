"""What an agent uploads and the receipts that it gets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clientagent.wire.messages.basis import Count, Digest, Id, Instant, Message, is_none
from clientagent.wire.messages.evaluation import EvaluationCounts
from clientagent.wire.messages.ledger import HeadUpdate
from clientagent.wire.messages.privacy import PrivacyStatement
from clientagent.wire.messages.work import WorkAnswer
from clientagent.wire.plan import Slug
from clientagent.wire.signing import Document, Signed


class Environment(Message):
    """Where an update was computed, for whoever replays it."""

    agent_version: str
    python: str
    numpy: str
    torch: str = ""
    threads: int = 1


class UpdateManifest(Document):
    """What an agent says about its update; the agent's signature makes it the receipt's first half.

    ``plain_bytes``: what the same update takes without a codec. ``base_loss``: mean loss of the base on the training rows, told
    only where the strategy needs it.
    ``within_clip``: where the plan's clip adapts, whether the update was within it and so was not cut; counted with noise.
    ``masked``: under secure aggregation the bank's signed word in its cohort. The update is then the masked vector, 4 bytes a word
    and nothing else; norm, loss and counts would tell of this bank alone and are left out.
    """

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
    codec: Literal["none", "bfloat16", "int8", "topk"] = "none"
    plain_bytes: Count
    rows: Count
    norm: Annotated[float, Field(ge=0)] | None
    steps: Count
    train_loss: float | None
    base_loss: Annotated[float, Field(ge=0)] | None = None
    training_s: Annotated[float, Field(ge=0)]
    counts: EvaluationCounts | None = None
    masked: Signed | None = None
    privacy: PrivacyStatement | None = None
    within_clip: bool | None = Field(None, exclude_if=is_none)
    environment: Environment

    @property
    def cohort(self) -> str | None:
        """The name of the cohort that a masked update is for."""
        return None if self.masked is None else str(self.masked.document.get("rid"))


class Receipt(Document):
    """The portal's countersignature: these bytes were received, with this outcome, at this place of the ledger."""

    type: Literal["receipt"] = "receipt"
    id: Id
    run: Id
    round: Count
    attempt: Count
    institution: Slug
    subject: Literal["update", "ready", "statistics", "evaluation", "acknowledgement", "appraisal", "decision", "refusal"]
    document_digest: Digest
    update_digest: Digest | None = None
    update_bytes: Count = 0
    outcome: Literal["accepted", "late"]
    chain: str
    seq: Count
    entry_hash: Digest
    at_utc: Instant


class ReceiptAnswer(Message):
    """The answer to updates, uploads/{id}/complete, statistics, evaluations, acknowledgements and decisions.

    ``privacy``: the portal's ``PrivacyCountersignature``, where the statement told of a privacy ledger.
    """

    receipt: Signed
    head: HeadUpdate | None = None
    privacy: Signed | None = None
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
