"""Inner products of all updates with each other: exact, so that they have the same bits on any machine, and still fast.

float32 Gram matrices pick the attacker, and a float64 library sums in an order of its own. So each update is first rounded to
whole multiples of its own unit, 2^-20 of its largest value in a piece of at most 8192 columns. The products and all partial
sums are then whole numbers below 2^53, which float64 holds exactly in whatever order they are added (the slicing of Ozaki et
al. 2012, with one slice). Each update has its own unit: a hostile bank's huge numbers coarsen nobody else's.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rounds.algorithms.strategy import Block, Wide

BITS = 20
WIDEST = 2 ** (53 - 2 * BITS)
FARTHEST = 1e4
HUGE = 2.0**100
"""Numbers so small that their scaling would pass this are scaled in float64."""


def gram(pieces: Iterable[Block], rows: int) -> Wide:
    """Inner products (rows, rows) of vectors that come in pieces (rows, at most 8192)."""
    total = np.zeros((rows, rows))
    for piece in pieces:
        whole, units = to_whole(piece)
        total += (whole @ whole.T) * (units[:, None] * units)
    return total


def squares(pieces: Iterable[Block], rows: int) -> Wide:
    """Squared norms (rows,) of vectors that come in pieces (rows, at most 8192)."""
    total = np.zeros(rows)
    for piece in pieces:
        whole, units = to_whole(piece)
        total += np.vecdot(whole, whole) * (units * units)
    return total


def to_whole(piece: Block) -> tuple[Wide, Wide]:
    """A piece (rows, width) as whole numbers of at most 2^20 and the unit (rows,), a power of two, that each row counts in."""
    if piece.shape[1] > WIDEST:
        raise ValueError(f"a piece of {piece.shape[1]} columns would not be exact; at most {WIDEST}")
    largest = np.maximum(piece.max(axis=1, initial=0), -piece.min(axis=1, initial=0))
    exponents = np.frexp(largest.astype(np.float64))[1]
    scaling = np.ldexp(1.0, BITS - exponents)[:, None]
    if piece.dtype == np.float32 and scaling.max(initial=0) < HUGE:
        scaling = scaling.astype(np.float32)  # powers of two: exact here too, and twice as fast
    whole = piece * scaling
    return np.rint(whole, out=whole).astype(np.float64, copy=False), np.ldexp(1.0, exponents - BITS)


def distances(products: Wide) -> Wide:
    """Squared distances (rows, rows) between vectors of which these are the inner products."""
    squares = np.diagonal(products)
    return np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0)


def within_reach(products: Wide, banks: int) -> tuple[Wide, Wide]:
    """(factors, products): vectors far longer than the banks' typical one drawn near, and the inner products (rows, rows) then.

    Distances to an average follow from distances between its members only while these are of comparable size: next to an
    update of length 1e38 the honest ones would drown in its rounding. ``factors`` (rows,) are powers of two.
    """
    lengths = np.sqrt(np.diagonal(products))
    reach = FARTHEST * float(np.median(lengths[:banks]))
    excess = np.divide(lengths, reach, out=np.ones(len(lengths)), where=(lengths > reach) & (reach > 0))
    factors = np.ldexp(1.0, -np.frexp(excess)[1] + 1)
    return factors, products * factors * factors[:, None]


def combination(coefficients: Wide, rows: Wide) -> Wide:
    """sum_k c_k rows_k in the order of k, of rows (banks, n): what a matrix product would be, with the same bits everywhere."""
    total = np.zeros(rows.shape[1])
    for coefficient, row in zip(coefficients, rows, strict=True):
        total += coefficient * row
    return total
