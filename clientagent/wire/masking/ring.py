"""Integers as words of the ring Z_2^32, laid out so that the sum of all banks' words cannot overflow.

Why it cannot. A bank's integer v lies within +-M, M = ceil(bound * scale) + ceil(12 * noise); it travels as e = v + M (e = v
where unsigned), so 0 <= e <= S with S = 2M (S = M). With n banks in the cohort:

(a) Where n * S < 2**b for a width b <= 32, floor(32 / b) fields of b bits share a word. Summed over at most n banks a field
    stays below 2**b, so nothing carries into its neighbour, and the word's sum stays below 2**32.
(b) Else e is cut into limbs of L = 32 - ceil(log2 n) bits, a word each. A limb is at most 2**L - 1, and n * (2**L - 1) < 2**32.

So the sum in Z equals the sum in Z_2^32, whoever drops; m contributors' sum of v is their sum of e less m * M. A bank that
breaks the rules can spoil the sum (as it could with a false update), but what comes out of range is refused, never published.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import Malformed, RingExceeded
from clientagent.wire.secure_messages import HEADROOM, Segment

Words = NDArray[np.uint32]
Integers = NDArray[np.int64]
WORD = np.dtype("<u4")
BLOCK = 1 << 17
"""Words that are handled at a time: 512 KiB, within a core's cache."""


def largest(segment: Segment) -> int:
    """M: the largest absolute integer that one bank may put into this segment."""
    return math.ceil(segment.bound * segment.scale) + math.ceil(HEADROOM * segment.noise)


@dataclass(frozen=True)
class Place:
    """Where a segment lies: from word ``start`` on, ``per_word`` fields a word or ``limbs`` words a value, of ``bits`` each."""

    segment: Segment
    start: int
    bits: int
    per_word: int
    limbs: int

    @property
    def words(self) -> int:
        return -(-self.segment.values // self.per_word) * self.limbs

    @cached_property
    def maximum(self) -> int:
        return largest(self.segment)

    @cached_property
    def offset(self) -> int:
        return self.maximum if self.segment.signed else 0

    @property
    def values_per_block(self) -> int:
        return BLOCK // self.limbs * self.per_word

    def words_of(self, integers: NDArray[np.signedinteger]) -> Words:
        """Words of values (k,) that are known to lie within the bound."""
        shifted = integers.astype(np.int64) + self.offset
        if self.limbs > 1:
            shifts = np.arange(self.limbs, dtype=np.int64) * self.bits
            return ((shifted[:, None] >> shifts) & ((1 << self.bits) - 1)).astype(WORD).reshape(-1)
        if self.per_word == 1:
            return shifted.astype(WORD)
        padded = np.zeros(-(-len(shifted) // self.per_word) * self.per_word, np.uint32)
        padded[: len(shifted)] = shifted
        shifts32 = np.arange(self.per_word, dtype=np.uint32) * np.uint32(self.bits)
        return np.bitwise_or.reduce(padded.reshape(-1, self.per_word) << shifts32, axis=1).astype(WORD)

    def integers_of(self, words: Words, values: int, contributors: int) -> Integers:
        """The summed integers (values,) of summed words. Raises ``RingExceeded`` for a sum that no banks could have made."""
        if self.limbs > 1:
            shifts = np.arange(self.limbs, dtype=np.int64) * self.bits
            summed = (words.astype(np.int64).reshape(-1, self.limbs) << shifts).sum(axis=1)
        elif self.per_word == 1:
            summed = words.astype(np.int64)
        else:
            shifts32 = np.arange(self.per_word, dtype=np.uint32) * np.uint32(self.bits)
            fields = (words.reshape(-1, 1) >> shifts32) & np.uint32((1 << self.bits) - 1)
            summed = fields.astype(np.int64).reshape(-1)[:values]
        summed -= contributors * self.offset
        low = -contributors * self.maximum if self.segment.signed else 0
        if values and not low <= int(summed.min()) <= int(summed.max()) <= contributors * self.maximum:
            raise RingExceeded(
                expected=f"a sum of {self.segment.name} within {contributors} times {self.maximum}", got="a value beyond"
            )
        return summed


@dataclass(frozen=True)
class Piece:
    """A block of one segment: ``values`` from value ``first`` on, in ``words`` words from word ``start`` on."""

    place: Place
    first: int
    values: int
    start: int
    words: int


class Ring:
    """The layout of a cohort's vector: the same for all, from the number of members and the segments alone."""

    def __init__(self, parties: int, segments: Sequence[Segment]) -> None:
        self.parties = parties
        self.places: list[Place] = []
        start = 0
        for segment in segments:
            place = _place(parties, segment, start)
            self.places.append(place)
            start += place.words
        self.words = start

    def pieces(self) -> Iterator[Piece]:
        """All words in order, in blocks that never mix two segments nor cut a value."""
        for place in self.places:
            for first in range(0, place.segment.values, place.values_per_block):
                values = min(place.values_per_block, place.segment.values - first)
                start = place.start + first // place.per_word * place.limbs
                yield Piece(place, first, values, start, -(-values // place.per_word) * place.limbs)

    def encode(self, parts: Mapping[str, NDArray[np.signedinteger]]) -> Words:
        """The vector (words,) of one bank's integers, one array (values,) for each segment.

        Raises ``Malformed`` for other names or shapes and ``RingExceeded`` for a value that the terms have no room for.
        """
        self._check(parts)
        vector = np.empty(self.words, WORD)
        for piece in self.pieces():
            values = parts[piece.place.segment.name][piece.first : piece.first + piece.values]
            _check_range(piece.place, values)
            vector[piece.start : piece.start + piece.words] = piece.place.words_of(values)
        return vector

    def decode(self, total: Words, contributors: int) -> dict[str, Integers]:
        """The summed integers of each segment, from the summed words (words,) of ``contributors`` banks."""
        parts = {place.segment.name: np.empty(place.segment.values, np.int64) for place in self.places}
        for piece in self.pieces():
            words = total[piece.start : piece.start + piece.words]
            integers = piece.place.integers_of(words, piece.values, contributors)
            parts[piece.place.segment.name][piece.first : piece.first + piece.values] = integers
        return parts

    def _check(self, parts: Mapping[str, NDArray[np.signedinteger]]) -> None:
        expected = {place.segment.name: (place.segment.values,) for place in self.places}
        got = {name: part.shape for name, part in parts.items()}
        if got != expected:
            raise Malformed(expected=f"integers {expected}"[:500], got=f"{got}"[:500])
        for name, part in parts.items():
            if part.dtype.kind != "i":
                raise Malformed(expected=f"signed integers in {name}", got=str(part.dtype))


def _place(parties: int, segment: Segment, start: int) -> Place:
    span = largest(segment) * (2 if segment.signed else 1)
    bits = (parties * span).bit_length()  # at most 60 by the bounds of Segment and MAX_COHORT, so int64 holds every sum
    if bits <= 32:
        return Place(segment, start, bits, per_word=32 // bits, limbs=1)
    limb = 32 - (parties - 1).bit_length()
    return Place(segment, start, limb, per_word=1, limbs=-(-span.bit_length() // limb))


def _check_range(place: Place, values: NDArray[np.signedinteger]) -> None:
    low = -place.maximum if place.segment.signed else 0
    if len(values) and not low <= int(values.min()) <= int(values.max()) <= place.maximum:
        raise RingExceeded(
            expected=f"values of {place.segment.name} from {low} to {place.maximum}",
            got=f"{int(values.min())} to {int(values.max())}",
        )
