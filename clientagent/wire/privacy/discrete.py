"""Exact samples of the discrete Gaussian: integers whose chances are proportional to exp(-x^2 / (2 sigma^2)), to the last bit.

Canonne, Kamath & Steinke 2020 ("The discrete Gaussian for differential privacy"), algorithms 2 and 3, on whole arrays. Each
decision "with chance exp(-g)" compares a 64-bit word with the float64 value of exp(-g). Where the two are so close that rounding
could decide (less than once in 2**35 draws) the word gets more bits and exp(-g) more digits until they part. So every decision,
and with it the distribution, is exact, at the speed of numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.privacy.stream import Floats, Stream

Integers = NDArray[np.int64]
Truths = NDArray[np.bool_]
Exact = Callable[[int], Fraction]
"""The exponent of one element of an array, exactly."""

SMALLEST_SIGMA, LARGEST_SIGMA = 2.0**-10, 2.0**48
MARGIN = 2.0**-36
"""float64's error of exp(-g) is below this share of it for every g that can occur (at most 2**-39)."""
LEAST_MARGIN = 2.0**-60
BLOCK = 1 << 16


def discrete_gaussian(sigma: float, count: int, stream: Stream) -> Integers:
    """(count,) integers; ``sigma`` is the scale, and nearly the standard deviation where it is above 1."""
    if not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise ValueError(f"a sigma from 2**-10 to 2**48, not {sigma}")
    found = np.empty(count, np.int64)
    have = 0
    while have < count:
        some = _accepted(sigma, min(2 * (count - have) + 64, BLOCK), stream)[: count - have]
        found[have : have + len(some)] = some
        have += len(some)
    return found


def _accepted(sigma: float, tries: int, stream: Stream) -> Integers:
    """Algorithm 3: discrete Laplace candidates of scale t, kept with the chance exp(-(|y| - sigma^2/t)^2 / (2 sigma^2))."""
    t = int(sigma) + 1
    candidates = discrete_laplace(t, tries, stream)
    variance = Fraction(sigma) ** 2
    distance = np.abs(candidates).astype(np.float64) - float(variance / t)

    def exact(i: int) -> Fraction:
        return (abs(int(candidates[i])) - variance / t) ** 2 / (2 * variance)

    return candidates[happens(distance * distance / (2 * float(variance)), exact, stream)]


def discrete_laplace(t: int, count: int, stream: Stream) -> Integers:
    """Algorithm 2: about half of ``count`` integers with chances proportional to exp(-|x| / t)."""
    low = _below(t, count, stream)
    low = low[happens(low / float(t), lambda i, low=low: Fraction(int(low[i]), t), stream)]  # type: ignore[misc]
    magnitude = low + t * _geometric(len(low), stream)
    negative = (stream.words(len(low)) & np.uint64(1)).astype(bool)
    kept = ~(negative & (magnitude == 0))
    signed: Integers = np.where(negative, -magnitude, magnitude)[kept]
    return signed


def _geometric(count: int, stream: Stream) -> Integers:
    """How often in a row a chance of exp(-1) comes true."""
    times = np.zeros(count, np.int64)
    running = np.arange(count)
    while len(running):
        running = running[happens(np.ones(len(running)), lambda i: Fraction(1), stream)]
        times[running] += 1
    return times


def _below(limit: int, count: int, stream: Stream) -> Integers:
    """(count,) uniform integers from 0 to limit - 1: words beyond the last whole multiple of ``limit`` are drawn again."""
    most = (1 << 64) - (1 << 64) % limit
    words = stream.words(count)
    if most < 1 << 64:
        while len(bad := np.flatnonzero(words >= np.uint64(most))):
            words[bad] = stream.words(len(bad))
    return (words % np.uint64(limit)).astype(np.int64)


def happens(exponents: Floats, exact: Exact, stream: Stream, *, margin: float = MARGIN) -> Truths:
    """(count,) independent truths, each with the chance exp(-g) for its exponent g >= 0."""
    words = stream.words(len(exponents))
    chances = np.exp(-exponents)
    drawn = words.astype(np.float64) * 2.0**-64
    truths: Truths = drawn < chances
    for i in np.flatnonzero(np.abs(drawn - chances) <= chances * margin + LEAST_MARGIN):
        truths[i] = is_below(int(words[i]), exact(int(i)), stream)
    return truths


def is_below(word: int, exponent: Fraction, stream: Stream) -> bool:
    """Whether the uniform number that begins with these 64 bits lies below exp(-exponent); draws more bits while it matters."""
    bits, digits = 64, 40
    while True:
        low, high = exp_bounds(exponent, digits)
        if Fraction(word + 1, 1 << bits) <= low:
            return True
        if Fraction(word, 1 << bits) >= high:
            return False
        word = word << 64 | int(stream.words(1)[0])
        bits, digits = bits + 64, digits + 20


def exp_bounds(exponent: Fraction, digits: int) -> tuple[Fraction, Fraction]:
    """Rational numbers around exp(-exponent): decimal's exp is rounded correctly, so one unit of its last digit bounds it."""
    down, up = Context(prec=digits, rounding=ROUND_FLOOR), Context(prec=digits, rounding=ROUND_CEILING)
    most = up.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    least = down.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    low = down.next_minus(down.exp(most.copy_negate()))
    high = up.next_plus(up.exp(least.copy_negate()))
    return max(Fraction(low), Fraction(0)), Fraction(high)
