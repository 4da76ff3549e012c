"""The statistics stage: what a bank counts over its training rows, and its answer to the portal."""

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


class Cells(Message):
    """Customers by value, ascending: cell i holds those above ``upper[i-1]`` and up to ``upper[i]``.

    The last cell is open above where there is one ``upper`` less than ``customers``: no extreme is told. In the cells ``single``
    all customers have the upper value. ``bad`` counts the positives among them where the plan weighs evidence, and is empty
    elsewhere. Uppers have four significant digits, and values as many when they are compared.
    """

    upper: list[float]
    customers: list[Count]
    single: list[Count] = []
    bad: list[Count] = []


class NumericStatistics(Message):
    """Moments of the training rows that have a value: n, mean, and m2, the sum of squared deviations from the mean."""

    name: Column
    count: Count
    mean: float
    m2: Annotated[float, Field(ge=0)]
    missing: Count
    missing_bad: Count = 0
    cells: Cells | None = None


class CategoricalStatistics(Message):
    """Customers in each category; categories below ``min_cell`` are counted together in ``other``.

    ``bad`` counts the positives in each of ``counts``, only where the plan weighs evidence.
    """

    name: Column
    counts: dict[str, Count]
    other: Count
    missing: Count
    bad: dict[str, Count] = {}
    other_bad: Count = 0
    missing_bad: Count = 0


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
