"""Reads Parquet through pyarrow, which comes with the extra ``[data]`` and is imported only here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clientagent.data.findings import Finding, Unreadable
from clientagent.data.source import BLOCK_ROWS, Block, column_name

STREAM_BYTES = 1 << 18
"""Read ahead of each column, so that a large row group is not read whole."""
LEAST_ROWS = 1024


class ParquetFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise Unreadable(
                "reading Parquet needs pyarrow: pip install 'fedagent[data]' (CSV needs nothing)",
                "the agent cannot read Parquet yet",
            ) from error
        self._faults: tuple[type[Exception], ...] = (pyarrow.ArrowException, OSError)
        try:
            self._file: Any = pyarrow.parquet.ParquetFile(path, buffer_size=STREAM_BYTES)
        except self._faults as error:
            raise self._unreadable(error) from error
        self._schema_names: list[str] = self._file.schema_arrow.names
        self.names = [column_name(name) for name in self._schema_names]
        self.rows = int(self._file.metadata.num_rows)

    def blocks(self, names: Sequence[str], block_bytes: int = 0) -> Iterator[tuple[int, Block]]:
        stored = {name: self._schema_names[self.names.index(name)] for name in names}
        rows = BLOCK_ROWS if not block_bytes else max(LEAST_ROWS, block_bytes // (8 * max(len(names), 1)))
        try:
            for batch in self._file.iter_batches(rows, columns=list(stored.values()), use_threads=not block_bytes):
                yield batch.num_rows, {name: batch.column(batch.schema.get_field_index(stored[name])) for name in names}
        except self._faults as error:
            raise self._unreadable(error) from error

    def findings(self) -> list[Finding]:
        return []

    def _unreadable(self, error: Exception) -> Unreadable:
        if isinstance(error, MemoryError):
            return Unreadable(
                f"{self.path.name} does not fit into memory: set a lower memory_mb for it in policy.toml, and it is worked on from disk",
                "the file does not fit into memory",
            )
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Unreadable(f"{self.path.name} cannot be read as Parquet: {first[:200]}", "the file is a damaged Parquet file")
