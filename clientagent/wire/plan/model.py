"""The part of a plan that says what is trained: a family of the catalogue, or a plugin with its tensors."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from clientagent.wire.plan.values import Part

FAMILIES = ("logistic", "mlp", "scorecard")
PLUGIN = re.compile(r"^[A-Za-z_][\w.-]{0,63}@[0-9a-f]{64}$")
MOST_VALUES = 2**28
"""In one tensor of a plugin, an input counted as one."""


class TensorSpec(Part):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$")] = Field(
        description="As in the module's state_dict."
    )
    shape: list[Annotated[int, Field(ge=1, le=65_536)] | Literal["inputs"]] = Field(
        min_length=1, max_length=4, description="Its widths; the word inputs stands for the number of inputs."
    )
    start: Literal["uniform", "zeros", "ones"] = Field(
        "uniform", description="Where it starts; uniform lies within 1 / sqrt(product of all widths but the first)."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if math.prod(width for width in self.shape if width != "inputs") > MOST_VALUES:
            raise ValueError(f"{self.name}: more than {MOST_VALUES} values")
        if self.start == "uniform" and len(self.shape) == 1:
            raise ValueError(f"{self.name}: a vector starts at zeros or ones")
        return self

    def widths(self, inputs: int) -> tuple[int, ...]:
        """The shape, for a model of so many inputs."""
        return tuple(inputs if width == "inputs" else width for width in self.shape)


class Model(Part):
    family: str = Field(
        "mlp", description="logistic: one weight an input. mlp: hidden layers. scorecard: points a bin. "
        "name@hash: a plugin that each bank has installed; it comes with a plan as YAML.",
    )
    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        default_factory=lambda: [64, 32], max_length=8, description="Widths of the hidden layers of an mlp."
    )
    dropout: float = Field(0.1, ge=0, le=0.9, description="Share of hidden units left out in each training step.")
    base_score: float = Field(600, ge=-10_000, le=10_000, description="Points of a customer at the base odds (scorecard).")
    base_odds: float = Field(50, gt=0, le=1e6, description="Good customers to one bad at the base score (scorecard).")
    points_to_double: float = Field(20, gt=0, le=1000, description="Points that double the odds, PDO (scorecard).")
    tensors: list[TensorSpec] = Field(
        default_factory=list, max_length=1000,
        description="A plugin's weights and where they start, as 'fedagent plans plugins' prints them.",
    )

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES and not PLUGIN.match(family):
            raise ValueError(f"one of {', '.join(FAMILIES)}, or a local plugin name@sha256")
        return family

    @field_validator("tensors")
    @classmethod
    def _distinct(cls, tensors: list[TensorSpec]) -> list[TensorSpec]:
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise ValueError("a name appears twice")
        return tensors

    @model_serializer(mode="wrap")
    def _without_empty_tensors(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # plans without a plugin keep the hash that they had before plugins
        document: dict[str, Any] = handler(self)
        if not self.tensors:
            document.pop("tensors", None)
        return document

    @property
    def is_plugin(self) -> bool:
        """Whether the family is a module that each bank installed itself."""
        return self.family not in FAMILIES
