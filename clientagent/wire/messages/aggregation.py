"""What a closing round commits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clientagent.wire.messages.basis import Count, Digest, Id, Message, is_none
from clientagent.wire.plan import Slug


class AggregationEntry(Message):
    """One update and what its bank said of it. ``share``: the bank's weight in the RunManifest's roster."""

    institution: Slug
    update_digest: Digest
    rows: Count
    weight: Annotated[float, Field(ge=0, le=1)]
    staleness: Count = 0
    share: Annotated[float, Field(ge=0, le=1)]
    steps: Count
    base_loss: Annotated[float, Field(ge=0)] | None = None


class AggregationNoise(Message):
    """What the portal adds to the sum of the updates: a Gaussian of ``noise_multiplier * clip`` from a key that it holds.

    ``key_digest`` binds it to that key before any arithmetic; whoever holds the key can take the noise away again.
    ``within_share``: where the clip adapts, the share of the round's banks whose update was within ``clip``, with Gaussian noise of
    ``count_deviation`` banks from the same key; the clip of the version that comes of this follows from it.
    """

    mechanism: Literal["gaussian"] = "gaussian"
    noise_multiplier: Annotated[float, Field(gt=0)]
    clip: Annotated[float, Field(gt=0)]
    key_digest: Digest
    count_deviation: Annotated[float, Field(gt=0)] | None = Field(None, exclude_if=is_none)
    within_share: float | None = Field(None, exclude_if=is_none)


class AggregationManifest(Message):
    """What a closing round commits before any arithmetic: equal manifests give bit-identical models.

    ``participants``: banks on the roster. ``base_state_digest``: the server's vectors that belong to the base, null where all are
    zero or the strategy keeps none.
    ``cohort``: under secure aggregation the cohort whose sum was opened; the entries are its survivors' masked vectors.
    """

    run: Id
    round: Count
    attempt: Count
    base_number: Count
    base_digest: Digest
    base_state_digest: Digest | None = None
    participants: Annotated[int, Field(ge=1, le=10_000)]
    strategy: dict[str, object]
    entries: list[AggregationEntry]
    noise: AggregationNoise | None = None
    cohort: Digest | None = None
