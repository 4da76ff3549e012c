"""Secure aggregation (Bonawitz et al. 2017): banks send masked vectors, and only the sum over a cohort can be opened.

``Party`` is the bank's side and ``Collector`` the portal's; ``Ring``, ``reals``, ``counts`` and ``quantise`` turn numbers into
ring words. Double masking over a complete graph, Shamir shares, and what holds against a portal that lies: keys signed by
pinned identities, and a consistency round before anything is opened. Not held: a bank that sends nonsense, a portal that
refuses service, and what the sum itself tells.
"""

from clientagent.wire.masking.cohort import Cohort, fewest_in_sum, threshold_for
from clientagent.wire.masking.collector import Collector, Stage
from clientagent.wire.masking.encoding import UPDATE_BOUND, Quantised, counts, dequantise, quantise, reals
from clientagent.wire.masking.layout import (
    UPDATE,
    bound_offered,
    cohort_segments,
    is_counted,
    is_rotated,
    rotated_bound,
    update_segments,
)
from clientagent.wire.masking.opening import Mask, SumBlock, array_reader, file_reader, open_sum, remaining_masks
from clientagent.wire.masking.party import Party
from clientagent.wire.masking.releases import require_single_opening
from clientagent.wire.masking.ring import Ring, Words
from clientagent.wire.masking.rotation import Rotation
from clientagent.wire.masking.shares import clip_of, noised
from clientagent.wire.masking.summaries import (
    CategoriesSum,
    NumberSum,
    StatisticsSum,
    most_rows_for,
    most_rows_offered,
    opened_statistics,
    statistics_integers,
    statistics_segments,
)
from clientagent.wire.masking.tallies import count_segments, evaluation_integers, evaluation_segments, pooled_evaluation
from clientagent.wire.masking.terms import Base, cohort_terms, statistics_member, statistics_terms

__all__ = [
    "Base", "CategoriesSum", "Cohort", "Collector", "Mask", "NumberSum", "Party", "Quantised", "Ring", "Rotation", "Stage",
    "StatisticsSum", "SumBlock", "UPDATE", "UPDATE_BOUND", "Words", "array_reader", "bound_offered", "clip_of", "cohort_segments",
    "cohort_terms", "count_segments", "counts", "dequantise", "evaluation_integers", "evaluation_segments", "fewest_in_sum",
    "file_reader", "is_counted", "is_rotated", "most_rows_for", "most_rows_offered", "noised", "open_sum", "opened_statistics",
    "pooled_evaluation", "quantise", "reals", "remaining_masks", "require_single_opening", "rotated_bound", "statistics_integers",
    "statistics_member", "statistics_segments", "statistics_terms", "threshold_for", "update_segments",
]
