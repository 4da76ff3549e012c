"""What a cohort's vector holds under a plan. Portal and bank compute it alike, and the bank compares."""

from __future__ import annotations

from clientagent.wire.masking.encoding import UPDATE_BOUND, reals
from clientagent.wire.secure_messages import Segment

UPDATE = "update"


def update_segments(parameters: int, parties: int) -> list[Segment]:
    """Room for one update (parameters,): a ring word a value, at the finest scale that cannot overflow."""
    return [reals(UPDATE, parameters, bound=UPDATE_BOUND, parties=parties)]
