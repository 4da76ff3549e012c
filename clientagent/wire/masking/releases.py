"""Whether a bank may help to open one more sum of a base version. Two sums over different banks differ by somebody's update."""

from __future__ import annotations

from collections.abc import Collection

from clientagent.wire.errors import UnmaskRefused
from clientagent.wire.secure_messages import Opened


def require_single_opening(previous: Collection[Opened], now: Opened, *, may_reopen: bool) -> None:
    """Raises ``UnmaskRefused`` when this base version was opened before, over other survivors or with another input.

    A base version is the same when run and number are, or when its weights are, in whatever run. The same survivors with the
    same input sum to the same number, which is no news. As every bank answers once, and any two groups of ``threshold`` banks
    meet in an honest one, no second sum of a base version can be opened behind its back. Counts of the base are held against counts,
    whether they came beside updates or alone, and updates against updates.
    """
    for before in previous:
        same_base = (before.run, before.base_number) == (now.run, now.base_number) or before.base_digest == now.base_digest
        if same_base and _clash(before, now) and not may_reopen:
            raise UnmaskRefused(
                expected=f"one opened sum of base {now.base_digest[:16]}",
                got=f"a second, over {len(now.survivors)} banks where {len(before.survivors)} were opened before",
                action="Let the agent draw fresh noise and charge it, or let the operator consent.",
            )


def _clash(before: Opened, now: Opened) -> bool:
    """Whether some part of both sums was of the same kind, and not the same sum."""
    return any(
        part in now.parts and (before.survivors, digest) != (now.survivors, now.parts[part]) for part, digest in before.parts.items()
    )
