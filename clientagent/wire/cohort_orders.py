"""Around a cohort: a bank says that it is ready for one, and the portal tells each bank what a stage asks of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clientagent.wire.messages import Count, Digest, Environment, Id, Instant, PrivacyStatement
from clientagent.wire.plan import Slug
from clientagent.wire.secure_messages import CohortTerms, KeyList, ShareInbox, SurvivorList, UnmaskRequest
from clientagent.wire.signing import Document


class UpdateReady(Document):
    """POST ready: an update, counts of the base, or both wait at the bank to be masked. It says nothing of what they hold."""

    type: Literal["update_ready"] = "update_ready"
    run: Id
    manifest_digest: Digest
    round: Count
    attempt: Count
    base_number: Count
    base_digest: Digest
    institution: Slug
    agent_id: Id
    rows: Count
    steps: Count
    training_s: Annotated[float, Field(ge=0)]
    plain_bytes: Count
    privacy: PrivacyStatement | None = None
    environment: Environment


class CohortNotice(Document):
    """Work for one member of a cohort: what the portal tells it in this stage, and until when the stage waits.

    ``attempt`` is that of the member's own WorkOrder. The content is judged by what the other banks signed, not by this
    signature, which is evidence.
    """

    type: Literal["cohort_notice"] = "cohort_notice"
    run: Id
    manifest_digest: Digest
    round: Count
    attempt: Count
    cohort: Annotated[int, Field(ge=1, le=10**6)]
    rid: Digest
    institution: Slug
    stage: Literal["keys", "shares", "masked", "consistency", "unmask"]
    content: Annotated[
        CohortTerms | KeyList | ShareInbox | SurvivorList | UnmaskRequest, Field(discriminator="type")
    ]
    deadline_utc: Instant
    epoch: Count = 0
