"""One pass over a bank's rows in a new order: rows are copied together once and cut into batches by slices.

A matrix product may round otherwise at another alignment, so a batch has the address, modulo a cache line, that it would have in
one copy of all rows, however many rows are copied at a time: a table on disk trains to the bits of one in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clientagent.preparation.preprocess import Inputs
from clientagent.wire.tensors import Array

LINE_BYTES = 64


def shuffled(inputs: Inputs, order: NDArray[np.int64], batch_size: int, *, ones: bool = False) -> Iterator[Array]:
    """The rows in ``order`` (rows,): at once, or of a matrix on disk as many whole batches as fit into memory at a time.

    ``ones``: with a last input that is 1.
    """
    size = max(inputs.at_a_time // batch_size, 1) * batch_size if inputs.at_a_time else max(len(order), 1)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        found = placed(len(rows), inputs.matrix.shape[1] + ones, first=start)
        if inputs.at_a_time:
            _gather(inputs.matrix, rows, found)
        else:
            np.take(inputs.matrix, rows, axis=0, out=found[:, : inputs.matrix.shape[1]], mode="clip")
        if ones:
            found[:, -1] = 1
        yield found


def placed(rows: int, width: int, *, first: int) -> Array:
    """Room for ``rows`` rows, placed as row ``first`` and following of a matrix that begins at a cache line."""
    floats = LINE_BYTES // 4
    room = np.empty(rows * width + 2 * floats, np.float32)
    skip = (-room.ctypes.data // 4 + first * width) % floats
    return room[skip : skip + rows * width].reshape(rows, width)


def _gather(matrix: Array, rows: NDArray[np.int64], into: Array) -> None:
    """Rows of a matrix on disk, read from its beginning to its end."""
    places = np.argsort(rows)
    into[places, : matrix.shape[1]] = matrix[rows[places]]
