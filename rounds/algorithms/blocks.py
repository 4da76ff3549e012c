"""Aggregation by column blocks: all updates side by side, read a block, computed a piece at a time, and written as it comes.

Peak memory is one block, flat in the number of banks and in the size of the model. A piece is small enough to stay in the
processor's cache: numpy then works at the speed of the cache and not of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from clientagent.wire.tensors import Layout
from rounds.algorithms.files import FlatFile, Reader, StateFile, StateWriter, Uploads, narrow, read_whole, spans
from rounds.algorithms.geometry import Geometry, Measure, geometry_of
from rounds.algorithms.mixing import begin_mixed
from rounds.algorithms.passes import BLOCK_BYTES, UpdatePasses
from rounds.algorithms.strategy import Averaged, Block, Facts, Piece, Step, Strategy, Sums, Wide, weighted_sum

PIECE_VALUES = 2**20
WIDEST_PIECE, NARROWEST_PIECE = 16384, 1024
Write = Callable[[bytes], object]


@dataclass(frozen=True)
class RoundFiles:
    """Everything that a round computes from: the base, the updates and the server's vectors that belong to the base."""

    base: FlatFile
    uploads: Uploads
    parameters: int
    state: StateFile | None = None


@dataclass(frozen=True)
class Sink:
    """Where the next version goes: its bytes in order, the server's next vectors, and the share done after each block."""

    write: Write
    state: StateWriter | None = None
    on_block: Callable[[float], object] = field(default=lambda share: None)


@dataclass(frozen=True)
class Job:
    """All that makes a round's result: the rule, what it is told, and the vectors' files."""

    strategy: Strategy
    facts: Facts
    files: RoundFiles


def aggregate(strategy: Strategy, facts: Facts, files: RoundFiles, sink: Sink) -> Geometry:
    """Write base + difference as float32 bytes and the server's next vectors. Raises ``Overflowed`` and ``OSError``."""
    if strategy.solve is not None:
        return _solve(strategy, facts, files, sink)
    if strategy.begin is None:
        raise ValueError(f"{strategy.name} says neither how it begins nor how it solves")
    passes = UpdatePasses(files.uploads.rows("update"), files.parameters, files.state)
    step = begin_mixed(strategy.begin, facts, passes)
    if isinstance(step, Averaged) and passes.products is not None:
        _write_combination(step, files, sink)
        return geometry_of(passes.products, step.coefficients)
    return _walk(step, facts, files, sink, (0, files.parameters)).geometry


def aggregate_span(job: Job, sink: Sink, span: tuple[int, int]) -> Measure:
    """The same for the columns [start, end) alone, so that several workers may share a large model; to the same bits.

    For rules that go column by column and keep nothing at the server. A rule that looks at the updates as a whole first does so
    for every span.
    """
    if job.strategy.begin is None or job.files.state is not None:
        raise ValueError(f"{job.strategy.name} cannot be shared out by columns")
    step = begin_mixed(job.strategy.begin, job.facts, UpdatePasses(job.files.uploads.rows("update"), job.files.parameters))
    return _walk(step, job.facts, job.files, sink, span)


def _walk(step: Callable[[Piece], Step], facts: Facts, files: RoundFiles, sink: Sink, span: tuple[int, int]) -> Measure:
    measure = Measure(facts.banks)
    for start, before, piece in _pieces(files, sink, span):
        done = step(piece)
        measure.add(piece.updates, done.difference)
        _put(sink, start, before, done)
    return measure


def _put(sink: Sink, start: int, before: Block, done: Step) -> None:
    sink.write(narrow(before.astype(np.float64) + done.difference).tobytes())
    if sink.state is not None:
        sink.state.write(start, done.state)


def _write_combination(step: Averaged, files: RoundFiles, sink: Sink) -> None:
    """Only the updates that count need be read: one of all for Krum."""
    used = np.flatnonzero(step.coefficients).tolist()
    uploads = Uploads([files.uploads.paths[i] for i in used], {"update": files.uploads.offsets["update"]})
    for start, before, piece in _pieces(RoundFiles(files.base, uploads, files.parameters), sink, (0, files.parameters)):
        _put(sink, start, before, Averaged(step.coefficients[used])(piece))


def _pieces(files: RoundFiles, sink: Sink, span: tuple[int, int]) -> Iterator[tuple[int, Block, Piece]]:
    """(start, the base's columns, the same columns of everything else), from the span's first column to its last."""
    with ExitStack() as stack:
        base = Reader([files.base], stack)
        updates = Reader(files.uploads.rows("update"), stack)
        extra = {name: Reader(files.uploads.rows(name), stack) for name in files.uploads.extra}
        layout = files.state.layout if files.state else Layout({})
        kept = {name: _reader_of(files.state, name, stack) for name in layout.names}
        rows = len(files.uploads.paths) * (1 + len(extra)) + len(kept) + 1
        cut = max(NARROWEST_PIECE, min(WIDEST_PIECE, PIECE_VALUES // rows))
        for at_span, width in spans(span[1] - span[0], max(cut, BLOCK_BYTES // (4 * rows))):
            start = span[0] + at_span
            before, block = base.read(start, width)[0], updates.read(start, width)
            others = {name: reader.read(start, width) for name, reader in extra.items()}
            state = {name: reader.read(start, width)[0] if reader else None for name, reader in kept.items()}
            for at, size in spans(width, cut):
                columns = slice(at, at + size)
                yield start + at, before[columns], Piece(
                    block[:, columns], {name: other[:, columns] for name, other in others.items()},
                    {name: _wide(values, columns, size) for name, values in state.items()},
                )
            sink.on_block((at_span + width) / (span[1] - span[0]))


def _reader_of(state: StateFile | None, name: str, stack: ExitStack) -> Reader | None:
    vector = state.vector(name) if state else None
    return Reader([vector], stack) if vector else None


def _wide(values: Block | None, columns: slice, size: int) -> Wide:
    return np.zeros(size) if values is None else values[columns].astype(np.float64)


# ------------------------------------------------------------------------ second order
def _solve(strategy: Strategy, facts: Facts, files: RoundFiles, sink: Sink) -> Geometry:
    """The banks' sums are added up by blocks; what is solved from them is flat in the number of banks."""
    assert strategy.solve is not None
    size, rows = files.parameters, facts.rows
    coefficients = np.divide(facts.weights, rows, out=np.zeros(facts.banks), where=rows > 0)
    lengths = {"gradient": size, "hessian": size * (size + 1) // 2}
    totals = {name: _total(files.uploads, name, length, coefficients) for name, length in lengths.items()}
    base = read_whole(files.base, size)
    kept = {name: files.state.whole(name) for name in files.state.layout.names} if files.state else {}
    done = strategy.solve(facts, Sums(base, totals, kept))
    _put(sink, 0, base.astype(np.float32), done)
    sink.on_block(1.0)
    measure = Measure(facts.banks)
    with ExitStack() as stack:
        measure.add(Reader(files.uploads.rows("gradient"), stack).read(0, size), -totals["gradient"])
    return measure.geometry


def _total(uploads: Uploads, name: str, length: int, coefficients: Wide) -> Wide:
    """sum_k c_k x_k of one vector of the uploads (length,)."""
    total, files = np.empty(length), uploads.rows(name)
    with ExitStack() as stack:
        reader = Reader(files, stack)
        for start, width in spans(length, max(1, BLOCK_BYTES // (4 * max(len(files), 1)))):
            total[start : start + width] = weighted_sum(reader.read(start, width), coefficients)
    return total
