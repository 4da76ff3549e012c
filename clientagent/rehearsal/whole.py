"""A whole table as Arrow columns, for drafting and splitting: every column, its cells read as the bank's agent reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from clientagent.data.columns import is_missing
from clientagent.data.csv_file import CsvFile
from clientagent.data.findings import Unreadable
from clientagent.data.source import column_name, open_source
from clientagent.wire.errors import DataUnfit

WHOLE_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
CODE = re.compile(r"0[0-9]+")
"""Digits after a leading zero are a code (a postal code, say), not a number."""


def read_whole(path: str | Path) -> Any:
    """A ``pyarrow.Table`` with normalised, distinct column names. Raises ``DataUnfit``."""
    path = Path(path)
    try:
        source = open_source(path)
        table = _from_csv(source) if isinstance(source, CsvFile) else _from_parquet(path)
        problems = [finding.reason for finding in source.findings()]
    except Unreadable as error:
        raise _unfit(path, error.finding.reason) from error
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        problems.append(f"the header names {', '.join(repeated)} more than once")
    if not table.num_rows:
        problems.append("it has no rows")
    if problems:
        raise _unfit(path, "; ".join(problems))
    return table


def require_columns(table: Any, names: list[str], option: str) -> None:
    """Raises ``DataUnfit`` naming the columns that are not there."""
    if missing := [name for name in names if name not in table.column_names]:
        raise DataUnfit(
            expected=f"columns of the table: {', '.join(table.column_names)}"[:500], got=", ".join(missing),
            action=f"Correct {option}.",
        )  # fmt: skip


def listed(text: str | None) -> list[str]:
    """``A,B`` as a list of column names."""
    return [column_name(part) for part in (text or "").split(",") if part.strip()]


def _unfit(path: Path, reason: str) -> DataUnfit:
    got = f"{path}: {reason}"[:800]
    return DataUnfit(expected="a CSV or Parquet table", got=got, action="Name a readable table with --data.")


def _from_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"it cannot be read as Parquet: {str(error).splitlines()[0][:200]}") from error
    return table.rename_columns([column_name(name) for name in table.column_names])


def _from_csv(source: CsvFile) -> Any:
    """All columns that have a name, typed by their cells: whole numbers, numbers, else text."""
    import pyarrow as pa

    names = [name for name in source.names if name]
    distinct = list(dict.fromkeys(names))
    cells: dict[str, list[str]] = {name: [] for name in distinct}
    for _, block in source.blocks(distinct):
        for name in distinct:
            cells[name] += block[name]
    return pa.Table.from_arrays([_typed(cells[name]) for name in names], names=names)


def _typed(texts: list[str]) -> Any:
    import pyarrow as pa

    values = [None if is_missing(text.strip()) else text.strip() for text in texts]
    present = {value for value in values if value is not None}
    if not present:
        return pa.nulls(len(values))
    if any(CODE.fullmatch(value) for value in present):
        return pa.array(values, pa.string())
    if all(WHOLE_NUMBER.fullmatch(value) for value in present):
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    try:
        if not any("_" in value for value in present):
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
    except ValueError:
        pass
    return pa.array(values, pa.string())
