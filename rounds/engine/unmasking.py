"""From a closed cohort to the mean of its updates: the sum is opened by blocks and stored as one plain update."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from clientagent.wire.masking import Collector, Rotation, file_reader, is_rotated, open_sum, remaining_masks
from clientagent.wire.tensors import Layout
from rounds import crashing
from rounds.algorithms.files import narrow
from rounds.models import Cohort, Round
from rounds.selectors.cohorts import collector_of
from rounds.storage import blobs


def cohort_of(round_: Round) -> Cohort:
    """The cohort with which a round was closed."""
    return round_.cohorts.order_by("-number")[0]


def store_mean(round_: Round, layout: Layout, *, on_block: Callable[[float], object]) -> str:
    """Open the sum and keep sum(w u) / sum(w) over the survivors as a plain update; returns its digest.

    The integers of the sum are exact; the division is in float64 and the file in float32, the same bits on any machine. Raises
    ``ShareInvalid`` and ``RingExceeded`` where a bank broke the rules.
    """
    collector = collector_of(cohort_of(round_))
    divisor = collector.cohort.divisor_of(collector.survivors)
    with blobs.writing() as writer, ExitStack() as stack:
        writer.write(layout.header)
        readers = [file_reader(_open(collector, bank, stack)) for bank in collector.survivors]
        done, rotation = 0, Rotation(collector.cohort.rid)
        for block in open_sum(collector.cohort.ring, readers, remaining_masks(collector)):
            values = block.values / divisor
            if is_rotated(block.segment):
                values = rotation.back(values)[: layout.parameters - done]
            writer.write(narrow(values).tobytes())
            done += len(values)
            on_block(done / layout.parameters)
        digest = writer.keep()
    crashing.reached("sum:kept")
    return digest


def _open(collector: Collector, bank: str, stack: ExitStack) -> int:
    descriptor = os.open(blobs.path_of(collector.inputs[bank]), os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return descriptor
