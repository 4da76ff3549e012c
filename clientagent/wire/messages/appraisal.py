"""What a bank says of a run's result once it holds it: the training distribution, groups of customers, and what it gained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from clientagent.wire.messages.basis import Count, Digest, Id, Message
from clientagent.wire.messages.evaluation import SplitCounts
from clientagent.wire.plan import Column, Slug
from clientagent.wire.signing import Document

Share = Annotated[float, Field(ge=0, le=1)]
Group = Annotated[str, StringConstraints(max_length=128)]
MOST_GROUPS = 20


class GroupCounts(Message):
    """Hold-out customers of one group of the segment by score bin; the empty name is all groups too small to stand alone."""

    group: Group
    holdout: SplitCounts


class Estimate(Message):
    """A figure with its 95 % interval."""

    value: Annotated[float, Field(ge=-1, le=1)]
    low: Annotated[float, Field(ge=-1, le=1)]
    high: Annotated[float, Field(ge=-1, le=1)]


class ModelFigures(Message):
    """One model on the bank's own hold-out customers. ``auc`` is None where too few customers of a class are among them."""

    auc: Estimate | None
    loss: Annotated[float, Field(ge=0)]


class Gain(Message):
    """What the bank's own customers gain: each model's figures, and the difference of AUC to the local one (same customers)."""

    rows: Count
    local: ModelFigures
    federated: ModelFigures
    personal: ModelFigures | None = None
    federated_gain: Estimate | None
    personal_gain: Estimate | None = None


class Appraisal(Document):
    """POST runs/{id}/appraisals, once, before the result is acknowledged."""

    type: Literal["appraisal"] = "appraisal"
    run: Id
    manifest_digest: Digest
    institution: Slug
    number: Count
    version_digest: Digest
    training: SplitCounts | None = None
    segment: Column | None = None
    groups: Annotated[list[GroupCounts], Field(max_length=MOST_GROUPS + 1)] = []
    gain: Gain | None = None
