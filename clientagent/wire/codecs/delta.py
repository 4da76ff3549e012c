"""What goes down, lossless: a version as its difference to one that the agent has. Who applies it checks the version's digest.

Floats in order of size are integers in order of size, so a small step of a weight is a small integer. Steps are folded to
unsigned (0, -1, 1, -2, ...) and laid out as four planes of bytes, of which zstd makes the upper ones vanish.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.codecs.container import CHUNK, Content, read_chunks, write_chunk, write_header
from clientagent.wire.tensors import Array

Words = NDArray[np.uint32]


def delta_of(base: Array, new: Array) -> bytes:
    """The container that makes ``new`` (parameters,) out of ``base``."""
    return b"".join(delta_chunks(len(new), ((base[at : at + CHUNK], new[at : at + CHUNK]) for at in range(0, len(new), CHUNK))))


def delta_chunks(parameters: int, blocks: Iterator[tuple[Array, Array]]) -> Iterator[bytes]:
    """The same for vectors too large to hold: ``blocks`` are (base, new) in stretches of ``CHUNK`` values."""
    yield write_header(Content("delta", parameters, parameters))
    for base, new in blocks:
        step = (_ordered(new) - _ordered(base)).view(np.int32)
        folded = ((step << 1) ^ (step >> 31)).view(np.uint32)
        yield write_chunk(np.ascontiguousarray(folded.astype("<u4").view(np.uint8).reshape(-1, 4).T[::-1]).tobytes())


def apply_delta(source: BinaryIO, base: Array) -> Array:
    """The version that ``delta_of`` was given. Raises ``CodecInvalid`` and ``Truncated``.

    The bytes are a stranger's until the digest of the result is the one that the WorkOrder names.
    """
    new = np.empty(len(base), np.float32)
    start = 0
    for values, raw in read_chunks(source, Content("delta", len(base), len(base)), lambda values: (4 * values, 4 * values)):
        planes = np.frombuffer(raw, np.uint8).reshape(4, values)[::-1]
        folded = np.ascontiguousarray(planes.T).view("<u4").reshape(-1).astype(np.uint32)
        step = (folded >> 1) ^ (np.uint32(0) - (folded & 1))
        new[start : start + values] = _floats(_ordered(base[start : start + values]) + step)
        start += values
    return new


def _ordered(values: Array) -> Words:
    """Each float32 as an unsigned integer, so that larger floats are larger integers."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))


def _floats(words: Words) -> Array:
    return np.where(words >> 31, words & np.uint32(0x7FFFFFFF), ~words).astype(np.uint32).view(np.float32)
