"""The words that messages are made of.

``Document`` subclasses are signed (by the portal or by the agent); plain ``Message`` subclasses only travel.
Instants are UTC, ISO 8601 with a ``Z``; digests are SHA-256 in lower-case hexadecimal.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")]
Instant = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
Text = Annotated[str, StringConstraints(max_length=2000)]
Count = Annotated[int, Field(ge=0, le=10**12)]


def is_none(value: object) -> bool:
    """For ``exclude_if`` of a field that came later: where it says nothing it is left out, so that signatures and digests of documents
    without it stay what they were, and a side of the version before can read them."""
    return value is None


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
