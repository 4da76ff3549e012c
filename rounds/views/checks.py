"""What this person has verified in this session: up to which entry of which chain, and when."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from audit.selectors import head_of, verify
from audit.services import utc_text
from clientagent.wire.errors import LedgerBroken

MOST_REMEMBERED = 200


def checks_of(request: HttpRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.session.get("verified", {})
    return found


def check(request: HttpRequest, chain: str) -> dict[str, Any]:
    """Recompute a chain from its rows and remember the outcome for this session."""
    seq, _hash = head_of(chain)
    outcome: dict[str, Any] = {"at": utc_text()}
    try:
        verify(chain)
        outcome["seq"] = seq
    except LedgerBroken as refusal:
        outcome["broken"] = refusal.sentence
    kept = list((checks_of(request) | {chain: outcome}).items())[-MOST_REMEMBERED:]
    request.session["verified"] = dict(kept)
    return outcome
