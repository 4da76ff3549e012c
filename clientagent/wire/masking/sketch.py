"""Categories that no plan lists, as coordinates of a sum: an invertible Bloom lookup table (Goodrich & Mitzenmacher 2011).

Each bank adds each of its categories to one cell in each of ``TABLES`` tables: a one, its customers, the name's digits and a check.
Cells add up over the banks. Where all that fell into a cell is one category, its digits are the name times the number of banks that
told it; it is read, taken off its other cells, and so on until nothing is left. What comes out is the union of all banks' categories
with their summed customers and how many banks told each, and nothing about which bank did.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import StatisticsInvalid

TABLES = 4
ROOM = 1.5
"""Cells for each category: above 1.3 four tables are emptied almost surely (section 3.2); two categories seldom share all cells."""
MOST_TOLD = 100
"""Categories of a column that one bank tells, the most frequent ones; the others count together."""
NAME_BYTES = 60
DIGIT_BYTES = 2
DIGITS = NAME_BYTES // DIGIT_BYTES
CHECK = DIGITS
"""The column of the check, after those of the name."""
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """One category of all banks together: its customers, the bad among them, and how many banks told it."""

    customers: int
    bad: int
    holders: int


@dataclass(frozen=True)
class Cells:
    """``holders``, ``customers``, ``bad`` (cells,) and ``names`` (cells, DIGITS + 1), of one bank or summed."""

    holders: Integers
    customers: Integers
    bad: Integers
    names: Integers


def cells_for(names: int) -> int:
    """How many cells hold so many different categories, in all tables."""
    return TABLES * math.ceil(ROOM * names / TABLES + 4)


def fits(name: str) -> bool:
    """Whether a name has room in a cell."""
    return len(name.encode()) <= NAME_BYTES and "\0" not in name


def filled(told: Mapping[str, tuple[int, int]], cells: int, *, salt: str) -> Cells:
    """One bank's cells of (customers, bad) by category; all names fit."""
    one = np.zeros(cells, np.int64)
    found = Cells(one.copy(), one.copy(), one, np.zeros((cells, DIGITS + 1), np.int64))
    for name, (customers, bad) in told.items():
        _add(found, name, Told(customers, bad, 1), salt, sign=1)
    return found


def emptied(summed: Cells, *, salt: str, column: str) -> dict[str, Told]:
    """Every category of a sum. Raises ``StatisticsInvalid`` where there are more than the cells can tell apart."""
    left = Cells(*(array.copy() for array in (summed.holders, summed.customers, summed.bad, summed.names)))
    found: dict[str, Told] = {}
    waiting: list[int] = np.flatnonzero(left.holders).tolist()
    while waiting:
        cell = waiting.pop()
        name = _name_in(left, cell, salt)
        if name is None or name in found:
            continue
        told = Told(int(left.customers[cell]), int(left.bad[cell]), int(left.holders[cell]))
        _add(left, name, told, salt, sign=-1)
        found[name] = told
        waiting += [place for place in _places(name, len(left.holders), salt) if left.holders[place] > 0]
    if any(array.any() for array in (left.holders, left.customers, left.bad, left.names)):
        raise StatisticsInvalid(
            expected=f"{column}: categories that a sum under masks can tell apart", got="too many different ones",
            action="List this column's categories in the plan, or leave it out.",
        )
    return found


def _add(cells: Cells, name: str, told: Told, salt: str, *, sign: int) -> None:
    digits = _digits(name, salt)
    for place in _places(name, len(cells.holders), salt):
        cells.holders[place] += sign * told.holders
        cells.customers[place] += sign * told.customers
        cells.bad[place] += sign * told.bad
        cells.names[place] += sign * told.holders * digits


def _name_in(cells: Cells, cell: int, salt: str) -> str | None:
    """The only category in a cell, or None."""
    holders = int(cells.holders[cell])
    if holders <= 0 or (cells.names[cell] % holders).any():
        return None
    digits = cells.names[cell] // holders
    if digits.min() < 0 or digits.max() >= 1 << (8 * DIGIT_BYTES):
        return None
    try:
        name = digits[:DIGITS].astype(">u2").tobytes().rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    is_its_own = np.array_equal(_digits(name, salt), digits) if fits(name) else False
    return name if is_its_own and cell in _places(name, len(cells.holders), salt) else None


def _digits(name: str, salt: str) -> Integers:
    padded = name.encode().ljust(NAME_BYTES, b"\0")
    return np.append(np.frombuffer(padded, ">u2").astype(np.int64), int.from_bytes(_hash(name, salt)[:DIGIT_BYTES], "big"))


def _places(name: str, cells: int, salt: str) -> list[int]:
    """One cell in each table."""
    each, hashed = cells // TABLES, _hash(name, salt)
    return [table * each + int.from_bytes(hashed[4 + 7 * table : 11 + 7 * table], "big") % each for table in range(TABLES)]


def _hash(name: str, salt: str) -> bytes:
    return hashlib.sha256(f"{salt}\n{name}".encode()).digest()
