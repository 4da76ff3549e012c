"""What a closing round commits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clientagent.wire.messages.basis import Count, Digest, Id, Message
from clientagent.wire.plan import Slug


class AggregationEntry(Message):
    institution: Slug
    update_digest: Digest
    rows: Count
    weight: Annotated[float, Field(ge=0, le=1)]
    staleness: Count = 0


class AggregationManifest(Message):
    """What a closing round commits before any arithmetic: equal manifests give bit-identical models.

    ``cohort``: under secure aggregation the cohort whose sum was opened; the entries are its survivors' masked vectors.
    """

    run: Id
    round: Count
    attempt: Count
    base_number: Count
    base_digest: Digest
    strategy: dict[str, object]
    entries: list[AggregationEntry]
    cohort: Digest | None = None
