"""Privacy of banks within a cohort: how much noise each bank's integers carry, and an update made ready for that.

Every bank cuts its update at the plan's norm and adds a discrete Gaussian share to its integers before they are masked (Kairouz,
Liu & Steinke 2021, algorithm 1, without their rotation: a share fills a ring word here). Shares are sized for the fewest banks that
a sum is opened for, less the one that looks and knows its own share: a larger sum only has more noise than stated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import CohortMismatch
from clientagent.wire.masking.cohort import fewest_in_sum
from clientagent.wire.masking.encoding import Quantised, quantise, reals
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.institution import (
    clip_for_rounding,
    clip_update,
    honest_banks,
    noise_share,
    require_smooth,
    share_sigma,
)
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.secure_messages import Segment


def clip_of(plan: Plan) -> float | None:
    """The norm at which each bank's update is cut; None where the plan promises nothing to banks."""
    bank = plan.privacy.institution_dp
    return None if bank is None or bank.clip == "adaptive" else float(bank.clip)


def noised_segment(name: str, plan: Plan, parameters: int, parties: int, noise_multiplier: float | None) -> Segment:
    """Room for clipped updates (parameters,) of ``parties`` banks with their shares of noise, at the finest scale that cannot overflow.

    Raises ``PrivacyUnsound`` where that scale is too coarse for so large a model, ``CohortMismatch`` without a noise multiplier.
    """
    clip = clip_of(plan)
    if clip is None or noise_multiplier is None:
        raise CohortMismatch(expected="a clip and a noise multiplier, as the plan promises privacy to banks", got="none")
    honest = honest_banks(fewest_in_sum(plan, parties))
    segment = reals(
        name, parameters, bound=clip, parties=parties, noise_std=share_sigma(noise_multiplier * clip, honest)
    )
    require_smooth(segment.noise, parties=parties, parameters=parameters)
    clip_for_rounding(clip, segment.scale, parameters)
    return segment


def noised(update: NDArray[np.floating], segment: Segment, *, clip: float, factor: float, stream: Stream) -> Quantised:
    """Integers of an update (values,): cut so that rounding keeps its norm within ``clip * scale``, with this bank's share added."""
    cut = clip_update(update, clip_for_rounding(clip, segment.scale, segment.values))
    found = quantise(cut.update, segment, factor=factor)
    return Quantised(found.integers + noise_share(segment.noise, segment.values, stream), found.clipped)
