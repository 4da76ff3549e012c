"""Which troubles with an order are not the work's own: the portal is not told of them, and the work waits on disk."""

from __future__ import annotations

from clientagent.wire.errors import (
    AgentNotApproved,
    AgentRevoked,
    ClockSkewed,
    DigestMismatch,
    InstitutionSuspended,
    KeyUnknown,
    LedgerBroken,
    PortalUnreachable,
    ProtocolUnsupported,
    Replayed,
    SignatureInvalid,
    TooManyRequests,
    Truncated,
)

PASSING = (
    PortalUnreachable, TooManyRequests, ClockSkewed, Replayed, AgentNotApproved, AgentRevoked, InstitutionSuspended,
    KeyUnknown, ProtocolUnsupported, LedgerBroken,
)  # fmt: skip
"""Troubles with the way, our standing or the portal, not with the work: it stays on disk, and the loop decides."""
ON_THE_WAY = (SignatureInvalid, DigestMismatch, Truncated)
"""What the portal says of bytes that were damaged on the way to it."""
