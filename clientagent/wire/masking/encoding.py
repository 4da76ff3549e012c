"""From real numbers to the integers of a segment and back, and the finest scale that a ring has room for.

Scales are powers of two, so multiplying by one is exact and the quantised vector is the same on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import Malformed, NotFinite
from clientagent.wire.masking.ring import BLOCK, largest
from clientagent.wire.secure_messages import Segment

Uniform = Callable[[int], NDArray[np.float64]]
"""n numbers of [0, 1): ``numpy.random.Generator.random``."""


UPDATE_BOUND = 16.0
"""Where the plan bounds no update: weights of one round move by less, and 10 banks still resolve 2**-23, float32's step at 1."""


@dataclass(frozen=True)
class Quantised:
    """Integers (values,) and how many of them were cut to the bound. The count is for the bank's own receipt."""

    integers: NDArray[np.int32] | NDArray[np.int64]
    clipped: int


def quantise(
    values: NDArray[np.floating], segment: Segment, *, factor: float = 1.0, uniform: Uniform | None = None
) -> Quantised:
    """round(values * factor * scale), cut to the bound, for values (values,).

    To the nearest integer, ties to even; or, with ``uniform``, up with the probability of the fraction, which is unbiased.
    Raises ``NotFinite``, and ``Malformed`` for a factor outside 0..1 or another shape.
    """
    if values.shape != (segment.values,) or not 0 <= factor <= 1:
        raise Malformed(expected=f"{segment.values} values and a factor of 0 to 1", got=f"{values.shape}, {factor}")
    narrow = largest(segment) < 2**31
    integers = np.empty(len(values), np.int32) if narrow else np.empty(len(values), np.int64)
    clipped = 0
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK].astype(np.float64) * factor
        if not np.isfinite(block).all():
            raise NotFinite(expected="finite numbers", got=f"{np.count_nonzero(~np.isfinite(block))} that are not")
        low = -segment.bound if segment.signed else 0.0
        clipped += int(np.count_nonzero((block > segment.bound) | (block < low)))
        scaled = np.clip(block, low, segment.bound) * segment.scale
        integers[start : start + BLOCK] = _round(scaled, uniform)
    return Quantised(integers, clipped)


def _round(scaled: NDArray[np.float64], uniform: Uniform | None) -> NDArray[np.float64]:
    if uniform is None:
        return np.rint(scaled)
    whole = np.floor(scaled)
    return whole + (uniform(len(scaled)) < scaled - whole)


def dequantise(integers: NDArray[np.signedinteger], segment: Segment) -> NDArray[np.float64]:
    """The real numbers of (summed) integers."""
    return integers.astype(np.float64) / segment.scale


def reals(
    name: str, values: int, *, bound: float, parties: int, per_word: int = 1, bits: int | None = None, noise_std: float = 0.0
) -> Segment:
    """A segment for real numbers within +-``bound``, with the finest scale that fits.

    By default a value fills one word; with ``per_word`` so many share one (2: half the bytes, 12 bits a value for 10 banks).
    With ``bits`` a value has that many instead, sign included; what exceeds a word is spread over limbs. ``noise_std`` is of
    one bank's share, in units of the values.
    """
    if bits is not None and not 2 <= bits <= 52 or not 1 <= per_word <= 8:
        raise Malformed(expected="2 to 52 bits, 1 to 8 values a word", got=f"{bits}, {per_word}")
    for exponent in range(math.floor(51 - math.log2(bound)), -200, -1):
        scale = 2.0**exponent
        if noise_std * scale >= 2**48:
            continue
        segment = Segment(name=name, values=values, bound=bound, scale=scale, noise=noise_std * scale)
        if bits is None and 2 * largest(segment) * parties < 2 ** (32 // per_word):
            return segment
        if bits is not None and math.ceil(bound * scale) < 2 ** (bits - 1):
            return segment
    raise Malformed(expected="a bound and noise that a scale exists for", got=f"bound {bound}, noise {noise_std}")


def counts(name: str, values: int, *, most: int) -> Segment:
    """A segment for whole numbers from 0 to ``most``."""
    return Segment(name=name, values=values, bound=max(most, 1), signed=False)
