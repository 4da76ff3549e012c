"""Evaluation counts as coordinates of a masked vector, so that the portal learns how the pool scores and no bank's own counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.masking.encoding import counts, dequantise, quantise, reals
from clientagent.wire.messages import EvaluationCounts, SplitCounts
from clientagent.wire.metrics import from_sparse, to_sparse
from clientagent.wire.secure_messages import Segment

Split = Literal["validation", "holdout"]
SPLITS: tuple[Split, ...] = ("validation", "holdout")
LOSS_PER_ROW = 1000.0
"""The largest log loss of one customer that counts; a logit of 1000 and wrong."""
LOSS_BITS = 50


def count_segments(segments: Sequence[Segment]) -> list[Segment]:
    """Those of a cohort's segments that hold counts."""
    names = {f"{split}.{part}" for split in SPLITS for part in ("rows", "bins", "loss")}
    return [segment for segment in segments if segment.name in names]


def evaluation_segments(bins: int, *, most_rows: Mapping[Split, int], parties: int) -> list[Segment]:
    """Room for each split's rows, good and bad customers by bin, and summed loss. ``most_rows`` of any one bank's split."""
    segments = []
    for split in SPLITS:
        most = max(most_rows[split], 1)
        segments += [
            counts(f"{split}.rows", 1, most=most),
            counts(f"{split}.bins", 2 * bins, most=most),
            reals(f"{split}.loss", 1, bound=LOSS_PER_ROW * most, parties=parties, bits=LOSS_BITS),
        ]
    return segments


def evaluation_integers(report: EvaluationCounts, bins: int, segments: Sequence[Segment]) -> dict[str, NDArray[np.int64]]:
    """One bank's counts for ``Ring.encode``. Raises ``CountsInvalid`` for counts that contradict themselves."""
    loss = {segment.name: segment for segment in segments}
    parts: dict[str, NDArray[np.int64]] = {}
    for split, said in ((SPLITS[0], report.validation), (SPLITS[1], report.holdout)):
        parts[f"{split}.rows"] = np.array([said.rows], np.int64)
        parts[f"{split}.bins"] = from_sparse(said, bins).reshape(-1)
        name = f"{split}.loss"
        parts[name] = quantise(np.array([said.loss_sum]), loss[name]).integers.astype(np.int64)
    return parts


def pooled_evaluation(sums: Mapping[str, NDArray[np.int64]], segments: Sequence[Segment]) -> dict[Split, SplitCounts]:
    """The pool's counts by split, from the opened sum. Raises ``CountsInvalid`` where some bank's own counts contradicted themselves."""
    loss = {segment.name: segment for segment in segments}
    pooled: dict[Split, SplitCounts] = {}
    for split in SPLITS:
        name = f"{split}.loss"
        counts = sums[f"{split}.bins"].reshape(-1, 2)
        pooled[split] = SplitCounts(
            rows=int(sums[f"{split}.rows"][0]), loss_sum=max(float(dequantise(sums[name], loss[name])[0]), 0.0),
            bins=to_sparse(counts),
        )
        from_sparse(pooled[split], len(counts))
    return pooled
