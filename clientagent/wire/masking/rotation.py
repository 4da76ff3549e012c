"""A public random rotation that spreads a vector evenly over its coordinates, so that few bits a coordinate lose little.

Signs, then a Walsh-Hadamard transform in blocks of 4096 (Suresh et al. 2017, section 3). It is linear, so it commutes with the
sum, and orthogonal, so norms and differential privacy stay as they are. Signs come from the cohort's digest, the same for all.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.masking.ring import BLOCK
from clientagent.wire.masking.streams import Stream, derive, scratch

WIDTH = 4096


class Rotation:
    """The rotation of one cohort. ``forward`` and ``back`` take consecutive pieces of a vector, in order and once."""

    def __init__(self, rid: str) -> None:
        self._stream = Stream(derive(b"", rid, "rotation"), +1)

    @staticmethod
    def padded(values: int) -> int:
        """Coordinates that ``values`` numbers become: what a segment for rotated values has room for."""
        return -(-values // WIDTH) * WIDTH

    def forward(self, values: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Rotated coordinates (padded(k),) of a whole vector (k,)."""
        rotated = np.zeros(self.padded(len(values)), np.float64)
        rotated[: len(values)] = values
        for start in range(0, len(rotated), BLOCK):
            part = rotated[start : start + BLOCK]
            rotated[start : start + BLOCK] = _hadamard(part * self._signs(len(part)))
        return rotated

    def back(self, rotated: NDArray[np.float64]) -> NDArray[np.float64]:
        """The vector of rotated coordinates (k,), k a multiple of 4096; the last piece carries the padding."""
        return _hadamard(rotated) * self._signs(len(rotated))

    def _signs(self, count: int) -> NDArray[np.float64]:
        """The next ``count`` of +-1, a bit each."""
        words = np.zeros(-(-count // 32), np.dtype("<u4"))
        self._stream.apply(words, scratch())
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")[:count]
        return 1.0 - 2.0 * bits.astype(np.float64)


def _hadamard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orthonormal transform of each block: butterflies, elementwise in a fixed order, the same bits on any machine."""
    current = values.reshape(-1, WIDTH)
    half = 1
    while half < WIDTH:
        pairs = current.reshape(-1, WIDTH // (2 * half), 2, half)
        current = np.concatenate(
            (pairs[:, :, :1] + pairs[:, :, 1:], pairs[:, :, :1] - pairs[:, :, 1:]), axis=2
        ).reshape(-1, WIDTH)
        half *= 2
    return (current / math.sqrt(WIDTH)).reshape(-1)
