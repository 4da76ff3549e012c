"""The parts of a plan that say how updates travel, how versions are judged and how long updates are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clientagent.wire.plan.values import Column, Part


class Compression(Part):
    codec: Literal["none", "bfloat16", "int8", "topk"] = Field("none", description="How an update is made smaller.")
    share: float = Field(0.05, gt=0, le=1, description="Share of coordinates that topk sends.")


class EvaluationPlan(Part):
    bins: int = Field(1000, ge=10, le=100_000, description="Score bins in which customers are counted.")
    validation: float = Field(0.1, ge=0, le=0.5, description="Share of a bank's rows that chooses the best version.")
    holdout: float = Field(0.2, gt=0, le=0.5, description="Share of a bank's rows that only reports.")
    every: int = Field(1, ge=0, le=10_000, description="Evaluate every n-th version; 0 never.")
    segment: Column | None = Field(None, description="A column whose groups are compared for fairness.")
    alert_budget: float = Field(0.01, gt=0, le=1, description="Share of cases that can be looked at.")
    gains: bool = Field(
        False, description="At the end each bank also trains a model of its own and reports, in figures only, what it gained."
    )


class Retention(Part):
    updates_days: int = Field(400, ge=0, le=36_500, description="Days for which updates are kept.")
