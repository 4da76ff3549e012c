"""The portal's signed word for where the audit log stands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clientagent.wire.messages.basis import Count, Digest, Instant, Message
from clientagent.wire.signing import Document, Signed


class Head(Document):
    """The portal's signed word for where a chain stands."""

    type: Literal["ledger_head"] = "ledger_head"
    chain: str
    seq: Count
    hash: Digest
    at_utc: Instant
    epoch: Count = 0


class HeadUpdate(Message):
    """A head, and the content digests of the entries since the head that the agent said it saw.

    Enough to check that the one extends the other.
    """

    head: Signed
    since_seq: Count
    links: list[Digest] = Field(max_length=100_000)
