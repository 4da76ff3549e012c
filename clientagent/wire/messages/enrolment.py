"""How an agent introduces itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from clientagent.wire.messages.basis import Digest, Id, Instant, Message, Text
from clientagent.wire.plan import Slug
from clientagent.wire.signing import Document


class EnrolmentRequest(Message):
    """POST enrolments. The HTTP signature with the new key proves that the bank holds it."""

    code: Annotated[str, StringConstraints(min_length=8, max_length=200)]
    public_key: Annotated[str, StringConstraints(max_length=100)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    agent_version: Annotated[str, StringConstraints(max_length=40)]


class Enrolment(Document):
    """GET enrolments/{agent_id} and the answer to POST: signed by the portal's root key, spelt out in ``root_key``."""

    type: Literal["enrolment"] = "enrolment"
    agent_id: Id
    institution: Slug
    institution_name: Text
    key_fingerprint: Digest
    state: Literal["pending", "approved", "revoked"]
    root_key: str
    at_utc: Instant
