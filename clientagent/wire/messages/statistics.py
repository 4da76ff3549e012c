"""The statistics stage: sums over a bank's rows, and the specification that is frozen from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clientagent.wire.messages.basis import Count, Digest, Id, Instant, Message, Text
from clientagent.wire.messages.privacy import PrivacyStatement
from clientagent.wire.plan import Column, Slug
from clientagent.wire.signing import Document


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
    privacy: PrivacyStatement | None = None


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
