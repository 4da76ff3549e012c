"""Vectors in files: where they lie, how the same columns of many are read into one array, how new ones are written in place."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clientagent.wire.tensors import Layout
from rounds.algorithms.strategy import Block, State, Wide


@dataclass(frozen=True)
class FlatFile:
    """A file whose bytes from ``offset`` on are float32 values."""

    path: Path
    offset: int


@dataclass(frozen=True)
class Uploads:
    """The updates' files in the manifest's order, and where each of their vectors starts, by name."""

    paths: Sequence[Path]
    offsets: Mapping[str, int]

    def rows(self, name: str) -> list[FlatFile]:
        return [FlatFile(path, self.offsets[name]) for path in self.paths]

    @property
    def extra(self) -> list[str]:
        """What is sent beside the update itself."""
        return [name for name in self.offsets if name != "update"]


@dataclass(frozen=True)
class StateFile:
    """The server's vectors of a version. No path: all are zero."""

    layout: Layout
    path: Path | None

    def vector(self, name: str) -> FlatFile | None:
        return None if self.path is None else FlatFile(self.path, self.layout.offset_of(name))

    def whole(self, name: str) -> Wide:
        file, size = self.vector(name), math.prod(self.layout.shapes[name])
        return np.zeros(size) if file is None else read_whole(file, size)


class StateWriter:
    """Writes the server's next vectors, each piece to its place. Close it before the file is read."""

    def __init__(self, layout: Layout, path: Path) -> None:
        self._layout = layout
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.pwrite(self._file, layout.header, 0)
        os.ftruncate(self._file, layout.file_bytes)

    def write(self, start: int, state: State) -> None:
        for name, values in state.items():
            _write_all(self._file, narrow(values).tobytes(), self._layout.offset_of(name) + 4 * start)

    def close(self) -> None:
        """Safe to repeat."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Reader:
    """Reads the same columns of several files straight into one array, which the next reading overwrites."""

    def __init__(self, files: Sequence[FlatFile], stack: ExitStack) -> None:
        self._files = [(_open(file, stack), file.offset) for file in files]
        self._memory = np.empty(0, "<f4")

    def read(self, start: int, width: int) -> Block:
        """(files, width) from position ``start``. Raises ``OSError`` when a file is shorter than that."""
        size = len(self._files) * width
        if size > len(self._memory):
            self._memory = np.empty(size, "<f4")
        block = self._memory[:size].reshape(len(self._files), width)
        for (descriptor, offset), row in zip(self._files, block, strict=True):
            _fill(descriptor, offset + 4 * start, row.data.cast("B"))
        return block


class Overflowed(ArithmeticError):
    """A rule left the finite numbers: no version can come of this round."""


def read_whole(file: FlatFile, size: int) -> Wide:
    with ExitStack() as stack:
        return Reader([file], stack).read(0, size)[0].astype(np.float64)


def narrow(values: Wide) -> Block:
    """To little-endian float32. Raises ``Overflowed`` for what float32 cannot hold."""
    with np.errstate(over="ignore"):
        result = values.astype("<f4")
    if not np.isfinite(result).all():
        raise Overflowed("the next version's numbers are not finite; lower the learning rates")
    return result


def spans(length: int, width: int) -> Iterator[tuple[int, int]]:
    """(start, size) of the stretches of ``width`` that make up ``length``."""
    for start in range(0, length, width):
        yield start, min(width, length - start)


def _open(file: FlatFile, stack: ExitStack) -> int:
    descriptor = os.open(file.path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return descriptor


def _fill(descriptor: int, offset: int, target: memoryview) -> None:
    done = 0
    while done < len(target):
        read = os.preadv(descriptor, [target[done:]], offset + done)
        if read == 0:
            raise OSError(f"short read: {done} of {len(target)} bytes at {offset}")
        done += read


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, memoryview(data)[done:], offset + done)
