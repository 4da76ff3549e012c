"""Looks at all updates before a rule decides: norms and inner products, read once and remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from rounds.algorithms import gram
from rounds.algorithms.files import FlatFile, Reader, StateFile, spans
from rounds.algorithms.strategy import Block, Wide

BLOCK_BYTES = 8 * 2**20
PIECE = 4096
"""Columns from one multiple of this to the next are rounded to one unit: another number is another rule, with other bits."""


class UpdatePasses:
    """``Passes`` over the updates' files. ``products`` are the updates' inner products where a rule asked for them."""

    def __init__(self, updates: Sequence[FlatFile], parameters: int, state: StateFile | None = None) -> None:
        self._updates, self._parameters, self._state = updates, parameters, state
        self.products: Wide | None = None

    def squares(self) -> Wide:
        return gram.squares(self._pieces(self._updates), len(self._updates))

    def gram(self, *, beside: str | None = None) -> Wide:
        banks = len(self._updates)
        vector = self._state.vector(beside) if self._state and beside else None
        rows = [*self._updates, vector] if vector else list(self._updates)
        products = gram.gram(self._pieces(rows), len(rows))
        self.products = products[:banks, :banks]
        return np.pad(products, (0, 1)) if beside and not vector else products

    def _pieces(self, files: Sequence[FlatFile]) -> Iterator[Block]:
        with ExitStack() as stack:
            reader = Reader(files, stack)
            pieces = max(1, BLOCK_BYTES // (4 * PIECE * max(len(files), 1)))
            for start, width in spans(self._parameters, pieces * PIECE):
                block = reader.read(start, width)
                for at, size in spans(width, PIECE):
                    yield block[:, at : at + size]
