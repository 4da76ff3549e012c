"""What bank and portal say about privacy: heads of a privacy ledger, and what was done to an update before it left.

Nothing here tells more than noise covers: neither losses nor the share of clipped records nor norms before the noise.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from clientagent.wire.messages import Count, Digest, Instant, Message
from clientagent.wire.plan import Slug
from clientagent.wire.privacy.events import PrivacyEvent, Unit
from clientagent.wire.signing import Document, Signed

Subject = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""What a ledger is about: the bank's own name of a dataset lineage, or a project."""
Epsilon = Annotated[float, Field(ge=0)]


class PrivacyHead(Document):
    """An agent's signed word for where its privacy ledger stands. ``epoch`` counts reconciliations."""

    type: Literal["privacy_head"] = "privacy_head"
    institution: Slug
    unit: Unit
    subject: Subject
    seq: Count
    hash: Digest
    epoch: Count = 0
    at_utc: Instant


class PrivacyHeadUpdate(Message):
    """A head, and the content digests of the entries since ``since_seq``: enough to check that it extends what is known."""

    head: Signed
    since_seq: Count
    links: list[Digest] = Field(max_length=100_000)


class PrivacyCountersignature(Document):
    """The portal's word that it has seen a head, and the last head it ever will accept something behind of."""

    type: Literal["privacy_countersignature"] = "privacy_countersignature"
    institution: Slug
    unit: Unit
    subject: Subject
    seq: Count
    hash: Digest
    epoch: Count = 0
    at_utc: Instant


class PrivacyStatement(Message):
    """What protects one release, and what was spent: for the run at the plan's delta, for the subject over all its projects.

    ``budget`` is the bank's own bound for the subject; None where it set none.
    """

    event: PrivacyEvent
    run_epsilon_before: Epsilon
    run_epsilon: Epsilon
    run_epsilon_allowed: Epsilon
    subject: Subject
    subject_epsilon: Epsilon
    subject_delta: Annotated[float, Field(gt=0, lt=1)]
    budget: Epsilon | None = None
    head: PrivacyHeadUpdate
