"""Exact sums of real numbers of any size in a ring of 32 bits: a fixed-point number as digits, a word each, which add up digit by digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from clientagent.wire.errors import RingExceeded

DIGIT_BITS = 24
"""With up to 64 banks the sum of signed digits stays below 2**31."""
BASE = 1 << DIGIT_BITS


@dataclass(frozen=True)
class FixedPoint:
    """Numbers of absolute value below 2**``above``, to the nearest multiple of 2**-``below``."""

    below: int
    above: int

    @property
    def digits(self) -> int:
        return -(-(self.below + self.above) // DIGIT_BITS)

    def digits_of(self, value: Fraction) -> list[int]:
        """Digits (digits,) within +-2**24, the lowest first, all of the number's sign. Raises ``RingExceeded``."""
        whole = round(value * (1 << self.below))
        if abs(whole) >> (self.below + self.above):
            raise RingExceeded(expected=f"numbers below 2**{self.above}", got="a larger one")
        sign, left, found = (-1 if whole < 0 else 1), abs(whole), []
        for _ in range(self.digits):
            found.append(sign * (left & (BASE - 1)))
            left >>= DIGIT_BITS
        return found

    def value_of(self, digits: Sequence[int]) -> Fraction:
        """The number that (summed) digits are of: exact, whatever carries."""
        whole = sum(int(digit) << (DIGIT_BITS * i) for i, digit in enumerate(digits))
        return Fraction(whole, 1 << self.below)
