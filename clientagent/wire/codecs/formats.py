"""What is in a chunk: values to bytes and back for each codec. Arrays and bytes, one chunk at a time.

bfloat16: the upper half of each float32, rounded to even; a plane of high bytes, then one of low bytes, which zstd likes.
int8: blocks of 256 with one float32 scale each; stochastic rounding, so that the mean of many banks is not biased
(Alistarh et al. 2017, section 3.1).
topk: for each block of 256 how many values are sent, their places, and the values as int8 in blocks of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import CodecInvalid, NotFinite
from clientagent.wire.tensors import Array

BLOCK = 256
LEVELS = 127
Bytes = NDArray[np.uint8]


def blocks_of(values: int) -> int:
    return -(-values // BLOCK)


# ---------------------------------------------------------------------- bfloat16
def bfloat16_bytes(flat: Array) -> bytes:
    """Raises ``NotFinite`` for numbers that bfloat16 rounds to infinity."""
    bits = np.ascontiguousarray(flat, "<f4").view("<u4")
    halves = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    if ((halves & 0x7F80) == 0x7F80).any():
        raise NotFinite(expected="numbers that bfloat16 can hold", got="too large a number")
    return (halves >> 8).astype(np.uint8).tobytes() + (halves & 0xFF).astype(np.uint8).tobytes()


def bfloat16_values(raw: bytes, values: int) -> Array:
    planes = np.frombuffer(raw, np.uint8)
    halves = planes[:values].astype("<u4") << 24 | planes[values:].astype("<u4") << 16
    return require_finite(halves.view("<f4"))


# -------------------------------------------------------------------------- int8
def int8_bytes(flat: Array, random: np.random.Generator | None) -> bytes:
    """Scales, then steps. ``random`` rounds stochastically; without it to the nearest.

    A block whose step would be below the smallest normal float32 (1.2e-38) is sent as zeros: machines disagree on such numbers.
    """
    wide = np.zeros(blocks_of(len(flat)) * BLOCK)
    wide[: len(flat)] = flat
    rows = wide.reshape(-1, BLOCK)
    scales = (np.abs(rows).max(axis=1, initial=0) / LEVELS).astype("<f4")
    units = np.divide(1.0, scales, out=np.zeros(len(scales)), where=scales >= np.finfo(np.float32).tiny)
    scales[units == 0] = 0
    steps = rows * units[:, None]
    steps = np.rint(steps) if random is None else np.floor(steps + random.random(steps.shape, np.float32))
    whole = np.clip(steps, -LEVELS, LEVELS).astype(np.int8)
    return scales.tobytes() + whole.reshape(-1)[: len(flat)].tobytes()


def int8_values(raw: bytes, values: int) -> Array:
    """Raises ``NotFinite`` and ``CodecInvalid``."""
    scales = np.frombuffer(raw, "<f4", count=blocks_of(values))
    steps = np.frombuffer(raw, np.int8, offset=scales.nbytes)
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise NotFinite(expected="scales of 0 and more", got="a negative scale, NaN or infinity")
    if (steps == -128).any():
        raise CodecInvalid(expected="steps from -127 to 127", got="-128")
    with np.errstate(over="ignore"):
        return require_finite(np.repeat(scales, BLOCK)[:values] * steps.astype(np.float32))


# -------------------------------------------------------------------------- topk
def topk_bytes(flat: Array, chosen: NDArray[np.bool_]) -> bytes:
    """Counts by block, places in the block, and the chosen values as int8 to the nearest step: error feedback has the rest."""
    places = np.flatnonzero(chosen)
    counts = np.bincount(places // BLOCK, minlength=blocks_of(len(flat))).astype("<u2")
    return counts.tobytes() + (places % BLOCK).astype(np.uint8).tobytes() + int8_bytes(flat[places], None)


def topk_values(raw: bytes, values: int) -> tuple[Array, int]:
    """The vector with zeros where nothing was sent, and how many values were sent. Raises ``CodecInvalid`` and ``NotFinite``."""
    blocks = blocks_of(values)
    if len(raw) < 2 * blocks:
        raise CodecInvalid(expected=f"counts of {blocks} blocks", got=f"{len(raw)} bytes")
    counts = np.frombuffer(raw, "<u2", count=blocks).astype(np.int64)
    sent = int(counts.sum())
    if counts.max(initial=0) > BLOCK or len(raw) != topk_bytes_of(values, sent):
        raise CodecInvalid(expected=f"{topk_bytes_of(values, sent)} bytes for {sent} values", got=f"{len(raw)} bytes")
    offsets = np.frombuffer(raw, np.uint8, count=sent, offset=2 * blocks)
    places = np.repeat(np.arange(blocks) * BLOCK, counts) + offsets
    if sent and (places[-1] >= values or (np.diff(places) <= 0).any()):
        raise CodecInvalid(expected=f"ascending places below {values}", got="places out of order or out of range")
    flat = np.zeros(values, np.float32)
    flat[places] = int8_values(raw[2 * blocks + sent :], sent)
    return flat, sent


def topk_bytes_of(values: int, sent: int) -> int:
    return 2 * blocks_of(values) + 2 * sent + 4 * blocks_of(sent)


def require_finite(values: Array) -> Array:
    """The values, or ``NotFinite``."""
    if not np.isfinite(values).all():
        raise NotFinite(expected="finite numbers", got=f"{np.count_nonzero(~np.isfinite(values))} NaN or infinite values")
    return values
