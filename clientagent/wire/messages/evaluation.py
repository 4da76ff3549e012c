"""How a version scores customers, as counts per score bin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clientagent.wire.messages.basis import Count, Digest, Id, Message
from clientagent.wire.plan import Slug
from clientagent.wire.signing import Document


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
