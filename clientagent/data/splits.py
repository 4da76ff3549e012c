"""Which of a bank's rows train, which choose the best version and which only report. Fixed for a project.

The place of a row follows from its content alone: rows of each class are ordered by a salted hash (BLAKE2b, RFC 7693) of
features and label; the lowest share is the hold-out, the next the validation, the rest trains. So the split does not depend on
the order of the rows or the format of the file, and another plan of the same project over the same columns meets the same one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.data.table import Categories, Numbers, Rows, Table
from clientagent.wire.plan import Plan

Hashes = NDArray[np.uint64]
HASH_BYTES = 16
STATE_ROWS = 1 << 16


@dataclass(frozen=True)
class Split:
    """Row numbers of a table, in the order of their hashes. ``state`` is the SHA-256 of all hashes in order."""

    training: Rows
    validation: Rows
    holdout: Rows
    state: str

    def digest(self, salt: str) -> str:
        """SHA-256 of the state of the data. ``salt``, the agent's id, keeps equal tables of two banks from equal digests."""
        return hashlib.sha256(f"{salt}:{self.state}".encode()).hexdigest()


def split_rows(plan: Plan, table: Table) -> Split:
    """Hold-out, validation and training rows, each stratified by label."""
    hashes = row_hashes(table, plan.project)
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    whole = hashlib.sha256()
    for start in range(0, table.rows, STATE_ROWS):
        whole.update(hashes[order[start : start + STATE_ROWS]].astype("<u8").tobytes())
    state = whole.hexdigest()
    part = np.zeros(table.rows, np.int8)
    for label in (0, 1):
        of_class = order[table.labels[order] == label]
        holdout, validation = part_sizes(len(of_class), plan.evaluation.holdout, plan.evaluation.validation)
        part[of_class[:holdout]] = 2
        part[of_class[holdout : holdout + validation]] = 1
    training, validating, held_out = (order[part[order] == which] for which in (0, 1, 2))
    return Split(training, validating, held_out, state)


def part_sizes(rows: int, holdout_share: float, validation_share: float) -> tuple[int, int]:
    """Hold-out and validation rows of ``rows`` rows of one class; at least one row is left to train on."""
    holdout = min(round(rows * holdout_share), max(rows - 1, 0))
    validation = min(round(rows * validation_share), max(rows - 1 - holdout, 0))
    return holdout, validation


def row_hashes(table: Table, salt: str) -> Hashes:
    """Two words (rows, 2) for each row. Equal rows are numbered, so that each has a place of its own."""
    seed = hashlib.blake2b(salt.encode(), digest_size=HASH_BYTES, person=b"fedportal-split")
    hashes = np.empty((table.rows, 2), np.uint64)
    for start, block in table.in_blocks():
        hashes[start : start + block.rows] = _hash_rows(_cells(block), seed)
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    same = np.zeros(table.rows, bool)
    for word in (0, 1):
        ordered = hashes[order, word]
        alike = ordered[1:] == ordered[:-1]
        same[1:] = alike if word == 0 else same[1:] & alike
    if same.any():
        place = np.arange(table.rows)
        occurrence = (place - np.maximum.accumulate(np.where(same, 0, place)))[same].astype(np.uint64)
        again = order[same]
        for start, block in table.take(again).in_blocks():
            at = slice(start, start + block.rows)
            hashes[again[at]] = _hash_rows(np.column_stack([_cells(block), occurrence[at]]), seed)
    return hashes


def _hash_rows(cells: NDArray[np.uint64], seed: hashlib.blake2b) -> Hashes:
    width = cells.shape[1] * 8
    data = memoryview(np.ascontiguousarray(cells, "<u8").tobytes())
    digests = bytearray()
    for start in range(0, len(data), width):
        row = seed.copy()
        row.update(data[start : start + width])
        digests += row.digest()
    return np.frombuffer(bytes(digests), "<u8").reshape(-1, 2).astype(np.uint64)


def _cells(table: Table) -> NDArray[np.uint64]:
    """One word (rows, 1 + features) for each cell: label first, features by name, so that a plan's order does not matter."""
    columns = {name: _bits(column) for name, column in table.numeric.items()}
    columns |= {name: _category_bits(column) for name, column in table.categorical.items()}
    return np.column_stack([table.labels.astype(np.uint64), *(columns[name] for name in sorted(columns))])


def _bits(numbers: Numbers) -> NDArray[np.uint64]:
    canonical = np.where(np.isnan(numbers), np.nan, numbers + 0.0)
    return canonical.view(np.uint64)


def _category_bits(column: Categories) -> NDArray[np.uint64]:
    """A category that reads as a number has the bits of that number, so that the feature's kind does not move a row."""
    words = [_word(value) for value in column.values]
    missing = _bits(np.array([np.nan]))
    return np.concatenate([np.array(words, np.uint64), missing])[column.codes]


def _word(text: str) -> int:
    try:
        return int(_bits(np.array([float(text)]))[0])
    except ValueError:
        return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
