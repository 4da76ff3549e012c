"""The part of a plan that says what protects customers and banks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from clientagent.wire.plan.values import Column, Part


class RecordDP(Part):
    epsilon: float = Field(3.0, gt=0, le=100, description="Privacy loss of one customer over the whole run.")
    delta: Literal["auto"] | Annotated[float, Field(gt=0, lt=1e-2)] = Field(
        "auto", description="Probability left out; auto is min(1e-6, 1 / (10 rows))."
    )
    clip: float = Field(
        1.0, gt=0, le=1000, description="Largest gradient norm of one record, its inputs scaled to a norm of about one."
    )
    sampling: float = Field(
        0.05, gt=0, le=1, description="Chance of each row to be in a training step; a pass over the rows is 1 / sampling steps."
    )
    statistics: float = Field(
        0.1, ge=0, le=0.5, description="Share of epsilon for the preprocessing statistics; 0 leaves them without noise."
    )
    bounds: dict[Column, tuple[float, float]] = Field(
        default_factory=dict, max_length=2000,
        description="Lowest and highest value of each number, from common knowledge and not from the data: what noise needs.",
    )

    @field_validator("bounds")
    @classmethod
    def _in_order(cls, bounds: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in bounds.items():
            if not low < high:
                raise ValueError(f"{name}: the lowest value must lie below the highest")
        return bounds


class InstitutionDP(Part):
    epsilon: float = Field(8.0, gt=0, le=100, description="Privacy loss of one bank over the whole run.")
    delta: float = Field(1e-5, gt=0, lt=1e-2, description="Probability left out.")
    clip: Literal["adaptive"] | Annotated[float, Field(gt=0, le=1e6)] = Field(
        1.0, description="Largest norm of one bank's update; adaptive from 50 banks on."
    )


class SecureAggregation(Part):
    threshold: float = Field(0.67, gt=0.5, le=1, description="Share of the cohort that must stay to the end.")
    min_cohort: int = Field(3, ge=3, le=10_000, description="Fewest banks whose sum may be opened.")


class Privacy(Part):
    record_dp: RecordDP | None = Field(
        None,
        description="Hides what any one customer changes, from everybody beyond the own bank: other banks, the portal, whoever gets the "
                    "model.",
    )
    institution_dp: InstitutionDP | None = Field(
        None,
        description="Hides what any one bank's whole table changes, from whoever sees the versions; from the portal too with secure "
                    "aggregation.",
    )
    secure_aggregation: SecureAggregation | None = Field(
        None,
        description="Hides each bank's update from the portal, which sees only the sum; the sum itself is not hidden from anybody.",
    )
    min_banks: int = Field(3, ge=1, le=10_000, description="Fewest banks behind any published total.")
    min_banks_reason: str = Field("", max_length=500, description="Why fewer than 3 banks may stand behind a total.")
    min_cell: int = Field(5, ge=1, le=10_000, description="Fewest customers in any published bin or category.")

    @model_validator(mode="after")
    def _reason_given(self) -> Self:
        if self.min_banks < 3 and not self.min_banks_reason.strip():
            raise ValueError("min_banks_reason: min_banks below 3 needs a sentence for the auditor")
        return self
