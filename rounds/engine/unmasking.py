"""From a closed cohort to the mean of its updates and the sum of its counts: opened by blocks; the mean is stored as one plain update."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from clientagent.wire.errors import CountsInvalid
from clientagent.wire.masking import (
    Collector,
    Rotation,
    SumBlock,
    count_segments,
    file_reader,
    is_rotated,
    open_sum,
    pooled_evaluation,
    remaining_masks,
)
from clientagent.wire.messages import EvaluationCounts
from clientagent.wire.tensors import Layout
from rounds import crashing
from rounds.algorithms.files import narrow
from rounds.models import Cohort, Round
from rounds.selectors.cohorts import collector_of
from rounds.services.pooling import OpenedCounts
from rounds.storage import blobs

logger = logging.getLogger(__name__)


def cohort_of(round_: Round) -> Cohort:
    """The cohort with which a round was closed."""
    return round_.cohorts.order_by("-number")[0]


@dataclass(frozen=True)
class OpenedSum:
    """``mean``: the digest of a plain update. ``counts``: of the round's base, where the cohort counted and they make sense."""

    mean: str
    counts: OpenedCounts | None


def store_mean(round_: Round, layout: Layout, *, on_block: Callable[[float], object]) -> OpenedSum:
    """Open the sum and keep sum(w u) / sum(w) over the survivors as a plain update, and the summed counts beside it.

    The integers of the sum are exact; the division is in float64 and the file in float32, the same bits on any machine. Raises
    ``ShareInvalid`` and ``RingExceeded`` where a bank broke the rules.
    """
    collector = collector_of(cohort_of(round_))
    divisor, counted = collector.cohort.divisor_of(collector.survivors), _Counted(collector)
    with blobs.writing() as writer, ExitStack() as stack:
        writer.write(layout.header)
        done, rotation = 0, Rotation(collector.cohort.rid)
        for block in _opened(collector, stack):
            if counted.takes(block):
                continue
            values = block.values / divisor
            if is_rotated(block.segment):
                values = rotation.back(values)[: layout.parameters - done]
            writer.write(narrow(values).tobytes())
            done += len(values)
            on_block(done / layout.parameters)
        digest = writer.keep()
    crashing.reached("sum:kept")
    return OpenedSum(digest, counted.of(round_))


def open_counts(round_: Round) -> OpenedCounts | None:
    """The summed counts of a closing evaluation; None where they contradict themselves. Raises ``ShareInvalid``, ``RingExceeded``."""
    collector = collector_of(cohort_of(round_))
    counted = _Counted(collector)
    with ExitStack() as stack:
        for block in _opened(collector, stack):
            counted.takes(block)
    return counted.of(round_)


class _Counted:
    """Gathers the blocks of a sum that hold counts."""

    def __init__(self, collector: Collector) -> None:
        self._segments = count_segments(collector.terms.segments)
        self._sums = {segment.name: np.zeros(segment.values, np.int64) for segment in self._segments}
        self._banks = len(collector.survivors)

    def takes(self, block: SumBlock) -> bool:
        if block.segment.name not in self._sums:
            return False
        self._sums[block.segment.name][block.first : block.first + len(block.integers)] = block.integers
        return True

    def of(self, round_: Round) -> OpenedCounts | None:
        if not self._segments:
            return None
        try:
            splits = pooled_evaluation(self._sums, self._segments)
        except CountsInvalid as refusal:
            logger.warning("round %d: the banks' counts do not add up, so they are not shown: %s", round_.number, refusal.sentence)
            return None
        return OpenedCounts(EvaluationCounts(
            number=round_.base.number, version_digest=round_.base.digest, validation=splits["validation"], holdout=splits["holdout"]
        ), self._banks)


def _opened(collector: Collector, stack: ExitStack) -> Iterator[SumBlock]:
    readers = [file_reader(_open(collector, bank, stack)) for bank in collector.survivors]
    return open_sum(collector.cohort.ring, readers, remaining_masks(collector))


def _open(collector: Collector, bank: str, stack: ExitStack) -> int:
    descriptor = os.open(blobs.path_of(collector.inputs[bank]), os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return descriptor
