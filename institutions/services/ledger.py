"""How this room's facts are worded on the consortium's chain. Bodies hold no secrets and name no person."""

from __future__ import annotations

from audit.models import Entry
from audit.services import CONSORTIUM, append
from institutions.models import User

PORTAL = "portal"


def record(kind: str, *, by: User | str, **body: object) -> Entry:
    """Seal a fact; ``by`` is the person, or an actor's text. Last in the transaction of the fact."""
    actor = by if isinstance(by, str) else by.actor
    return append(chain=CONSORTIUM, kind=kind, actor=actor, body=body)
