"""A file as blocks of columns, whatever its format. Decides by content, not by name, which format a file has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from clientagent.data.findings import Finding, Unreadable

Block = dict[str, Any]
"""Column name to its values in one block: a list of texts (CSV) or a pyarrow array (Parquet)."""

BLOCK_ROWS = 50_000


class Source(Protocol):
    """``names`` are as in the header, normalised by ``column_name``; a name may appear twice."""

    names: list[str]

    def blocks(self, names: Sequence[str], block_bytes: int = 0) -> Iterator[tuple[int, Block]]:
        """(rows, columns) of one block after the other. Raises ``Unreadable``.

        ``block_bytes``: about how large a block of a Parquet file may be; 0: ``BLOCK_ROWS`` rows.
        """
        ...

    def findings(self) -> list[Finding]:
        """What was wrong with the file's lines, known after the last block."""
        ...


def column_name(text: str) -> str:
    """A header's name as it is compared: no blanks around it, composed Unicode (NFC)."""
    return unicodedata.normalize("NFC", text.strip())


def open_source(path: Path) -> Source:
    """The file's reader. Raises ``Unreadable`` when it is missing, empty or neither CSV nor Parquet."""
    head = _head(path)
    if head[:4] == b"PAR1":
        from clientagent.data.parquet_file import ParquetFile

        return ParquetFile(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise Unreadable(f"{path.name} is not a Parquet file", "the file is not a Parquet file")
    if head[:4] == b"PK\x03\x04":
        raise Unreadable(f"{path.name} is a workbook or archive; save the sheet as CSV (UTF-8)", "the file is not CSV or Parquet")
    from clientagent.data.csv_file import CsvFile

    return CsvFile(path, head)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise Unreadable(f"there is no file {path}", "the file is missing") from error
    except IsADirectoryError as error:
        raise Unreadable(f"{path} is a folder, not a file", "the file is missing") from error
    except OSError as error:
        raise Unreadable(f"{path} cannot be opened: {error.strerror}", "the file cannot be opened") from error
    if not head:
        raise Unreadable(f"{path.name} is empty", "the file is empty")
    return head
