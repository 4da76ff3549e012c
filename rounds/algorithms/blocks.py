"""Aggregation by column blocks: read a block of coordinates of all updates, apply the rule, write the block of the result.

Peak memory is one block of all banks, flat in the number of banks and in the size of the model. Operations are elementwise
in a fixed order in float64 and use no BLAS, so any machine computes the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 32 * 2**20
"""A block of all banks is never larger."""
CACHE_BYTES = 2**20
"""A block that stays in a processor's cache costs two thirds of one that does not."""
READ_WIDTH = 2**14
"""Below this many values a read is mostly the call."""
Block = NDArray[np.float32]
Wide = NDArray[np.float64]
Rule = Callable[[Block, Wide], Wide]
"""From a block of updates (banks, width) and the banks' weights (banks,) to the aggregated difference (width,)."""


@dataclass(frozen=True)
class FlatFile:
    """A file whose bytes from ``offset`` on are float32 values."""

    path: Path
    offset: int


@dataclass(frozen=True)
class Geometry:
    """How each update lies to the result: L2 norms (banks,) and cosines to the aggregated difference (banks,)."""

    norms: Wide
    cosines: Wide


def block_width(banks: int, parameters: int) -> int:
    each = 4 * max(banks, 1)
    return max(1, min(parameters, BLOCK_BYTES // each, max(CACHE_BYTES // each, READ_WIDTH)))


def read_into(row: Block, descriptor: int, offset: int, start: int) -> None:
    """Fill ``row`` with the values from position ``start``. Raises ``OSError`` when the file is shorter than that."""
    got = os.preadv(descriptor, [row.view(np.uint8).data], offset + 4 * start)
    if got != row.nbytes:
        raise OSError(f"short read: {got} of {row.nbytes} bytes")


def aggregate(
    *, base: FlatFile, updates: Sequence[FlatFile], weights: Wide, parameters: int, rule: Rule,
    write: Callable[[bytes], object], on_block: Callable[[float], None] = lambda share: None,
) -> Geometry:
    """Write base + rule(updates) block by block as float32 bytes, and return the updates' geometry.

    ``updates`` and ``weights`` (banks,) are in the order of the AggregationManifest. ``on_block`` hears the share done.
    """
    squares, dots, total = np.zeros(len(updates)), np.zeros(len(updates)), 0.0
    width = block_width(len(updates), parameters)
    room = np.empty((len(updates) + 1, width), "<f4")  # read in place: a copy of each block would cost as much as the reading
    with ExitStack() as stack:
        descriptors = [_open(file, stack) for file in (base, *updates)]
        for start in range(0, parameters, width):
            size = min(width, parameters - start)
            for row, descriptor, file in zip(room, descriptors, (base, *updates), strict=True):
                read_into(row[:size], descriptor, file.offset, start)
            block = room[1:, :size]
            difference = rule(block, weights)
            for i, row in enumerate(block):
                wide = row.astype(np.float64)
                squares[i] += np.add.reduce(wide * wide)
                dots[i] += np.add.reduce(wide * difference)
            total += float(np.add.reduce(difference * difference))
            result = room[0, :size].astype(np.float64) + difference
            write(result.astype("<f4").tobytes())
            on_block((start + size) / parameters)
    norms = np.sqrt(squares)
    scale = norms * np.sqrt(total)
    return Geometry(norms, np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0))


def _open(file: FlatFile, stack: ExitStack) -> int:
    descriptor = os.open(file.path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return descriptor


def rows(block: Block) -> Iterator[Wide]:
    """The banks' rows in order, one at a time in float64."""
    for row in block:
        yield row.astype(np.float64)
