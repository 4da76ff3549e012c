"""What a cohort's vector holds under a plan. Portal and bank compute it alike, and the bank compares."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal

from clientagent.wire.errors import CohortMismatch
from clientagent.wire.masking.encoding import UPDATE_BOUND, reals
from clientagent.wire.masking.rotation import Rotation
from clientagent.wire.masking.shares import noised_segment
from clientagent.wire.masking.tallies import evaluation_segments
from clientagent.wire.messages import RunManifest
from clientagent.wire.plan import Plan
from clientagent.wire.secure_messages import Segment

UPDATE = "update"
ROTATED = "update.rotated"
TAILS = 8.0
"""Standard deviations of a rotated coordinate that have room. Rotation spreads evenly within 4096 coordinates only, and one layer may
move more than another."""


def is_counted(plan: Plan, base_number: int, attempt: int) -> bool:
    """Whether the banks' counts of the base go with their updates in this attempt at a round.

    Counts carry no noise for banks, so under institution_dp, where another attempt needs nobody's consent, only the first has them.
    """
    every = plan.evaluation.every
    is_due = bool(every and base_number and base_number % every == 0)
    return is_due and (attempt == 1 or plan.privacy.institution_dp is None)


def cohort_segments(
    plan: Plan, manifest: RunManifest, banks: Collection[str], *, purpose: Literal["update", "evaluation"], base_number: int,
    attempt: int, bound: float | None = None, noise_multiplier: float | None = None,
) -> list[Segment]:
    """Room for what a cohort of these banks sums: their updates, their counts of the base, or both. Raises as ``update_segments``."""
    parties = len(banks)
    update = [] if purpose == "evaluation" else update_segments(
        plan, manifest.parameters, parties, bound=bound, noise_multiplier=noise_multiplier
    )  # fmt: skip
    if purpose == "update" and not is_counted(plan, base_number, attempt):
        return update
    members = [entry for entry in manifest.roster if entry.institution in banks]
    most = {"validation": max(entry.validation_rows for entry in members), "holdout": max(entry.holdout_rows for entry in members)}
    return [*update, *evaluation_segments(plan.evaluation.bins, most_rows=most, parties=parties)]  # type: ignore[arg-type]


def update_segments(
    plan: Plan, parameters: int, parties: int, *, bound: float | None = None, noise_multiplier: float | None = None
) -> list[Segment]:
    """Room for one update (parameters,) at the finest scale that cannot overflow.

    A ring word for each value. Under int8, once a ``bound`` for rotated coordinates is known, two values share a word: 8 bits or
    more each, whatever the number of banks. A model so small that rotating would make it larger stays as it is. Under
    institution_dp there is room for each bank's share of noise too. Raises ``PrivacyUnsound`` and ``CohortMismatch``.
    """
    if plan.privacy.institution_dp is not None:
        return [noised_segment(UPDATE, plan, parameters, parties, noise_multiplier)]
    is_smaller = Rotation.padded(parameters) // 2 < parameters
    if bound is None or plan.compression.codec != "int8" or not is_smaller:
        return [reals(UPDATE, parameters, bound=UPDATE_BOUND, parties=parties)]
    return [reals(ROTATED, Rotation.padded(parameters), bound=bound, parties=parties, per_word=2)]


def is_rotated(segment: Segment) -> bool:
    """Whether a segment holds rotated coordinates."""
    return segment.name == ROTATED


def rotated_bound(mean_norm: float, parameters: int, parties: int) -> float | None:
    """A bound, a power of two, for rotated coordinates of banks whose last mean had this L2 norm; None where that says nothing.

    Banks that agree on nothing have updates sqrt(parties) times as long as their mean.
    """
    spread = mean_norm * math.sqrt(parties / parameters)
    if not 0 < spread < UPDATE_BOUND:
        return None
    return max(2.0 ** math.ceil(math.log2(TAILS * spread)), 2.0**-30)


def bound_offered(segments: Sequence[Segment]) -> float | None:
    """The bound for rotated coordinates that offered terms name, None where they have none.

    Any power of two is harmless: what exceeds it is cut at the bank, and the sum cannot overflow. Raises ``CohortMismatch``.
    """
    first = segments[0]
    if not is_rotated(first):
        return None
    if math.frexp(first.bound)[0] != 0.5 or first.bound > 4 * UPDATE_BOUND:
        raise CohortMismatch(expected="a bound that is a power of two", got=f"{first.bound:g}")
    return first.bound
