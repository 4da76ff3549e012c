"""The specification that is frozen from the banks' statistics: how each column becomes inputs, and how it looked then."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from clientagent.wire.messages.basis import Count, Digest, Message
from clientagent.wire.plan import Column
from clientagent.wire.signing import Document

Share = Annotated[float, Field(ge=0, le=1)]
Numbers = list[float]


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def _require_ascending(values: Numbers) -> None:
    _require(all(low < high for low, high in pairwise(values)), "edges must ascend")


class Profile(Message):
    """How the pooled training customers lie: shares of bins between ``edges`` (the outer two open), and of missing values.

    A bank compares its table with it later. ``rank_error`` bounds how far the share below any edge may be off, because each
    bank counted in cells of its own.
    """

    edges: Numbers
    shares: list[Share]
    missing: Share
    rank_error: Share

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _require_ascending(self.edges)
        _require(len(self.shares) == len(self.edges) + 1, "one share for each bin")
        return self


class _Numeric(Message):
    name: Column
    indicator: bool = False
    profile: Profile | None = None

    @property
    def _missing_name(self) -> list[str]:
        return [f"{self.name} (missing)"] * self.indicator


class NumericInput(_Numeric):
    """z = clip((x - mean) / scale, -clip, clip); missing becomes 0, with an indicator input where ``indicator``."""

    method: Literal["zscore"] = "zscore"
    mean: float
    scale: Annotated[float, Field(gt=0)]
    clip: float = 8.0

    @property
    def input_names(self) -> list[str]:
        return [self.name, *self._missing_name]


class QuantileInput(_Numeric):
    """Normal scores: linear between ``knots``, flat below the first; ``beyond`` above the last. Missing: 0 and an indicator.

    Without knots there is no score: nothing but the indicator.
    """

    method: Literal["quantile"] = "quantile"
    knots: Numbers
    scores: Numbers
    beyond: float

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _require_ascending(self.knots)
        _require(len(self.scores) == len(self.knots), "one score for each knot")
        return self

    @property
    def input_names(self) -> list[str]:
        return [self.name] * bool(self.knots) + self._missing_name


class BinsInput(_Numeric):
    """One input for each bin between ``edges``, upper edges included, the outer two open; one for missing."""

    method: Literal["bins"] = "bins"
    edges: Numbers

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _require_ascending(self.edges)
        return self

    @property
    def input_names(self) -> list[str]:
        return [f"{self.name} {place}" for place in bin_words(self.edges)] * bool(self.edges) + self._missing_name


class PiecewiseInput(_Numeric):
    """Piecewise-linear encoding (Gorishniy et al. 2022, equation 1): clip((x - low) / (high - low), 0, 1) for neighbouring knots.

    Clipped at the outer knots as well, so that no outlier pulls. Missing: all 0 and an indicator.
    """

    method: Literal["piecewise"] = "piecewise"
    knots: Numbers

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _require_ascending(self.knots)
        return self

    @property
    def input_names(self) -> list[str]:
        return [f"{self.name} {low:g}..{high:g}" for low, high in pairwise(self.knots)] + self._missing_name


class Evidence(Message):
    """Pooled good and bad customers of a bin, and its weight of evidence ln(share of goods / share of bads), smoothed.

    Zero customers: too few to be told, or none; such a bin weighs nothing.
    """

    good: Count
    bad: Count
    woe: float


class WoeInput(_Numeric):
    """One input: the weight of evidence of the value's bin between ``edges``, or of ``missing``. ``iv``: information value."""

    method: Literal["woe"] = "woe"
    edges: Numbers
    bins: list[Evidence]
    missing: Evidence
    iv: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _require_ascending(self.edges)
        _require(len(self.bins) == len(self.edges) + 1, "evidence for each bin")
        return self

    @property
    def input_names(self) -> list[str]:
        return [f"{self.name} (evidence)"]


AnyNumeric = Annotated[NumericInput | QuantileInput | BinsInput | PiecewiseInput | WoeInput, Field(discriminator="method")]


class _Categorical(Message):
    """``shares``: of the pooled training customers in each category, then in others, then missing; empty where not counted."""

    name: Column
    categories: list[str]
    shares: list[Share] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _require(len(self.shares) in (0, len(self.categories) + 2), "a share for each category, others and missing")
        return self


class CategoricalInput(_Categorical):
    """One input for each category, one for all others where ``other``, one for missing where ``missing``."""

    method: Literal["onehot"] = "onehot"
    other: bool = True
    missing: bool = False

    @property
    def input_names(self) -> list[str]:
        names = [f"{self.name}={value}" for value in self.categories]
        return names + [f"{self.name} (other)"] * self.other + [f"{self.name} (missing)"] * self.missing


class CategoricalWoe(_Categorical):
    """One input: the weight of evidence of the category, of all others, or of missing."""

    method: Literal["woe"] = "woe"
    bins: list[Evidence]
    other: Evidence
    missing: Evidence
    iv: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        _require(len(self.bins) == len(self.categories), "evidence for each category")
        return self

    @property
    def input_names(self) -> list[str]:
        return [f"{self.name} (evidence)"]


AnyCategorical = Annotated[CategoricalInput | CategoricalWoe, Field(discriminator="method")]


class PreprocessingSpec(Document):
    """Frozen before round 1, the same for all banks. The order of inputs is that of the lists, numbers first."""

    type: Literal["preprocessing"] = "preprocessing"
    plan_hash: Digest
    numeric: list[AnyNumeric]
    categorical: list[AnyCategorical]

    @property
    def input_names(self) -> list[str]:
        return [name for entry in (*self.numeric, *self.categorical) for name in entry.input_names]


def bin_words(edges: Numbers) -> list[str]:
    """How people write the bins between these edges: "<= 3", "3 < .. <= 7", "> 7"."""
    if not edges:
        return ["any"]
    inner = [f"> {low:g}, <= {high:g}" for low, high in pairwise(edges)]
    return [f"<= {edges[0]:g}", *inner, f"> {edges[-1]:g}"]
