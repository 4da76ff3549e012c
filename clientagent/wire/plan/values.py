"""What fields of a plan hold: names, values of a table and how they compare, and what every part of a plan has in common."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Column = Annotated[str, StringConstraints(min_length=1, max_length=128)]


def _exact(value: Any) -> Any:
    # JSON numbers lose digits from there on, and equal texts would no longer mean equal values
    if isinstance(value, (int, float)) and abs(value) >= 2**53 and value % 1 == 0:
        raise ValueError("a whole number of 2**53 and more must be written as text")
    return value


Value = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=128)] | int | float | bool, BeforeValidator(_exact)
]


def as_text(value: Any) -> str:
    """A category or label value as it is compared everywhere: 1, 1.0 and "1" are the same, true and "True" too."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return str(int(value))
    text = str(value).strip()
    if text in ("True", "true", "TRUE"):  # as programs write a truth value into CSV
        return "1"
    if text in ("False", "false", "FALSE"):
        return "0"
    if not re.fullmatch(r"-?\d+\.0+", text):
        return text
    whole = text.partition(".")[0]
    return "0" if whole.strip("-0") == "" else whole


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_enum_values=True)
