"""Reads Parquet through pyarrow, which comes with the extra ``[data]`` and is imported only here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clientagent.data.findings import Finding, Unreadable
from clientagent.data.source import BLOCK_ROWS, Block, column_name


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
            self._file: Any = pyarrow.parquet.ParquetFile(path)
        except self._faults as error:
            raise self._unreadable(error) from error
        self._schema_names: list[str] = self._file.schema_arrow.names
        self.names = [column_name(name) for name in self._schema_names]

    def blocks(self, names: Sequence[str]) -> Iterator[tuple[int, Block]]:
        stored = {name: self._schema_names[self.names.index(name)] for name in names}
        try:
            for batch in self._file.iter_batches(BLOCK_ROWS, columns=list(stored.values())):
                yield batch.num_rows, {name: batch.column(batch.schema.get_field_index(stored[name])) for name in names}
        except self._faults as error:
            raise self._unreadable(error) from error

    def findings(self) -> list[Finding]:
        return []

    def _unreadable(self, error: Exception) -> Unreadable:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Unreadable(f"{self.path.name} cannot be read as Parquet: {first[:200]}", "the file is a damaged Parquet file")
