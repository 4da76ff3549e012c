"""Reads CSV as banks export it: comma, semicolon, tab or bar; UTF-8 or UTF-16; quoted newlines; a byte order mark or none."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

from clientagent.data.findings import Finding, Unreadable
from clientagent.data.source import BLOCK_ROWS, Block, column_name

DELIMITERS = (",", ";", "\t", "|")
Line = list[str]


class CsvFile:
    """The first line is the header. Blank lines are skipped; a line with too few or too many values is a finding."""

    def __init__(self, path: Path, head: bytes) -> None:
        self.path = path
        self.encoding = _encoding(head)
        if self.encoding == "utf-8" and b"\0" in head:
            reason = f"{path.name} is not a text file; save it as CSV (UTF-8) or Parquet"
            raise Unreadable(reason, "the file is not CSV or Parquet")
        headers = {delimiter: self._header(delimiter) for delimiter in DELIMITERS}
        self.delimiter = max(DELIMITERS, key=lambda delimiter: len(headers[delimiter]))
        self.names = [column_name(name) for name in headers[self.delimiter]]
        if not any(self.names):
            raise Unreadable(f"{path.name} has no header line", "the file has no header line")
        self._ragged = 0
        self._first_ragged = ""

    def blocks(self, names: Sequence[str], block_bytes: int = 0) -> Iterator[tuple[int, Block]]:
        wanted = [(name, self.names.index(name)) for name in names]
        self._ragged, first = 0, 1
        for lines in self._lines():
            self._level(lines, first)
            columns = list(zip(*lines, strict=True))
            yield len(lines), {name: columns[index] for name, index in wanted}
            first += len(lines)

    def findings(self) -> list[Finding]:
        if not self._ragged:
            return []
        fault = f"lines do not have the header's {len(self.names)} values"
        return [Finding("", f"{self._ragged} {fault}, first {self._first_ragged}", f"some {fault}")]

    def _lines(self) -> Iterator[list[Line]]:
        with self._open() as file:
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            try:
                full = filter(None, reader)
                next(full)
                while lines := list(islice(full, BLOCK_ROWS)):
                    yield lines
            except (csv.Error, UnicodeDecodeError) as error:
                raise self._unreadable(error, reader.line_num + 1) from error

    def _level(self, lines: list[Line], first: int) -> None:
        """Cut and fill lines of the wrong width, so that the other columns can still be checked."""
        width = len(self.names)
        for i, line in enumerate(lines):
            if len(line) != width:
                if not self._ragged:
                    self._first_ragged = f"row {first + i} with {len(line)}"
                self._ragged += 1
                lines[i] = (line + [""] * width)[:width]

    def _header(self, delimiter: str) -> Line:
        with self._open() as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            try:
                return next(filter(None, reader), [])
            except csv.Error:
                return []
            except UnicodeDecodeError as error:
                raise self._unreadable(error, reader.line_num + 1) from error

    def _open(self) -> TextIO:
        try:
            return self.path.open(encoding=self.encoding, newline="")
        except OSError as error:
            raise Unreadable(f"{self.path} cannot be opened: {error.strerror}", "the file cannot be opened") from error

    def _unreadable(self, error: csv.Error | UnicodeDecodeError, line: int) -> Unreadable:
        if isinstance(error, UnicodeDecodeError):
            reason = f"{self.path.name} is not UTF-8 (near line {line}); save it as CSV (UTF-8)"
            return Unreadable(reason, "the file is not UTF-8")
        reason = f"{self.path.name} is not well-formed CSV near line {line}: {error}"
        return Unreadable(reason, "the file is not well-formed CSV")


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"
