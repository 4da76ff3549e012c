"""The part of a plan that says what every bank's table must offer and how its columns become inputs."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from clientagent.wire.plan.values import Column, Part, Value, as_text


class Kind(StrEnum):
    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


class Feature(Part):
    name: Column = Field(description="The column's name in every bank's table.")
    kind: Literal["numeric", "categorical"] = Field(description="How the column is read.")
    categories: list[Value] | None = Field(
        None, max_length=1000, description="The allowed values; left out, they are agreed in the statistics stage."
    )

    @model_validator(mode="after")
    def _categories_fit(self) -> Self:
        if self.categories is not None:
            if self.kind != "categorical":
                raise ValueError("only a categorical feature has categories")
            texts = [as_text(value) for value in self.categories]
            if not texts or len(set(texts)) != len(texts):
                raise ValueError("categories must be at least one and distinct (1 and 1.0 are the same)")
        return self


class Label(Part):
    name: Column = Field(description="The column that says how a case ended.")
    positive: Value = Field(1, description="The value that means default or fraud; 1 equals 1.0.")


class Preprocessing(Part):
    numeric: Literal["zscore", "quantile", "bins", "piecewise", "woe"] = Field(
        "zscore",
        description="How numbers become inputs. zscore: mean and deviation. quantile: normal scores, calm with outliers. "
        "bins: one input a bin. piecewise: a ramp a bin, often the best. woe: one weight of evidence.",
    )
    categorical: Literal["onehot", "woe"] = Field(
        "onehot", description="onehot: one input for each category. woe: one weight of evidence for all of them."
    )
    bins: int = Field(20, ge=2, le=100, description="Most bins of a number (quantile, bins, piecewise and woe).")
