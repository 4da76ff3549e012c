"""Arrays of a table that is larger than memory: in files of the agent's home that have no name and are gone with their last use.

Which tables go there is decided here, from a Parquet file's own count of its rows. Nothing else differs: the same code reads,
counts, prepares and trains on either road, and ends in the same bits.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import DataUnfit
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array

if TYPE_CHECKING:
    from clientagent.data.source import Source

BYTES_A_CELL = 40
"""Memory that one number of a table takes at most while it is read, split and prepared (measured)."""
STORED_BYTES_A_CELL = 16
"""The same on disk, in float64 and as a few inputs."""
SHARE = 0.5
"""Of the memory that is free, what a table may take where ``policy.toml`` says nothing."""
LEAST_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Store:
    """``folder`` takes the files, ``memory_bytes`` is what may be used, ``table_bytes`` what the table would take there."""

    folder: Path
    memory_bytes: int
    table_bytes: int

    @property
    def block_bytes(self) -> int:
        """How much of a table or of prepared inputs is looked at at a time."""
        return max(LEAST_BLOCK_BYTES, self.memory_bytes // 16)

    def rows_at_a_time(self, row_bytes: int) -> int:
        return max(1, self.block_bytes // max(row_bytes, 1))

    def column(self, dtype: type[Any]) -> Column:
        return Column(self, dtype)

    def matrix(self, rows: int, inputs: int) -> Array:
        """A matrix (rows, inputs) on disk, its room reserved. Raises ``DataUnfit``."""
        if not rows * inputs:
            return np.zeros((rows, inputs), np.float32)
        file = self.open()
        try:
            os.posix_fallocate(file.fileno(), 0, 4 * rows * inputs)
        except OSError as error:
            raise self.full(error) from error
        return np.asarray(np.memmap(file, np.float32, "r+", shape=(rows, inputs)))

    def open(self) -> IO[bytes]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=self.folder)

    def full(self, error: OSError) -> DataUnfit:
        return DataUnfit(
            expected=f"room for the table's working files in {self.folder}", got=error.strerror or type(error).__name__,
            action=f"Free at least {self.table_bytes * STORED_BYTES_A_CELL // BYTES_A_CELL >> 20} MiB there.",
        )


class Column:
    """One column, written block by block and then read as an array."""

    def __init__(self, store: Store, dtype: type[Any]) -> None:
        self._store, self._dtype = store, np.dtype(dtype)
        self._file = store.open()
        self._rows = 0

    def append(self, block: NDArray[Any]) -> None:
        """Raises ``DataUnfit`` where the disk is full."""
        try:
            self._file.write(np.ascontiguousarray(block, self._dtype).data)
        except OSError as error:
            raise self._store.full(error) from error
        self._rows += len(block)

    def array(self) -> NDArray[Any]:
        if not self._rows:
            return np.empty(0, self._dtype)
        try:
            self._file.flush()
        except OSError as error:
            raise self._store.full(error) from error
        return np.asarray(np.memmap(self._file, self._dtype, "r", shape=(self._rows,)))


@dataclass(frozen=True)
class Room:
    """What a table may take: ``memory_mb`` MiB, or half of what is free; beyond that files in ``folder``."""

    folder: Path
    memory_mb: int | None = None

    def store_for(self, plan: Plan, source: Source) -> Store | None:
        """Where the plan's columns of a file go; None: into memory. Raises ``DataUnfit`` where the disk has no room for them."""
        rows = getattr(source, "rows", None)
        if rows is None:  # a CSV file does not tell
            return None
        cells = rows * (len(plan.features) + 1)
        allowed = self.memory_mb * 2**20 if self.memory_mb is not None else int(SHARE * free_memory_bytes())
        if cells * BYTES_A_CELL <= allowed:
            return None
        store = Store(self.folder, allowed, cells * BYTES_A_CELL)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < cells * STORED_BYTES_A_CELL:
            raise store.full(OSError(errno.ENOSPC, f"only {free >> 20} MiB"))
        return store


def free_memory_bytes() -> int:
    """What the machine, or the container that this process lives in, has left."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    if limit and used and limit[0].isdigit():
        free = min(free, max(int(limit[0]) - int(used[0]), 0))
    return free


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
