"""A whole table as Arrow columns, for drafting and splitting: every column, not only a plan's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clientagent.data.source import column_name
from clientagent.wire.errors import DataUnfit

BROKEN = "a CSV or Parquet table"


def read_whole(path: str | Path) -> Any:
    """A ``pyarrow.Table``. Raises ``DataUnfit``."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    path = Path(path)
    try:
        head = path.open("rb").read(4096)
        if head[:4] == b"PAR1":
            table = pyarrow.parquet.read_table(path)
        else:
            table = pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter=_delimiter(head)))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataUnfit(expected=BROKEN, got=f"{path}: {error}"[:300], action="Name a readable table with --data.") from error
    if not table.num_rows:
        raise DataUnfit(expected=BROKEN, got=f"{path} without rows")
    return table.rename_columns([column_name(name) for name in table.column_names])


def _delimiter(head: bytes) -> str:
    line = head.splitlines()[0].decode("utf-8-sig", "replace") if head.splitlines() else ""
    return max(",;\t|", key=line.count)


def require_columns(table: Any, names: list[str], option: str) -> None:
    """Raises ``DataUnfit`` naming the columns that are not there."""
    if missing := [name for name in names if name not in table.column_names]:
        raise DataUnfit(
            expected=f"columns of the table: {', '.join(table.column_names)}"[:500], got=", ".join(missing),
            action=f"Correct {option}.",
        )


def listed(text: str | None) -> list[str]:
    """``A,B`` as a list of column names."""
    return [column_name(part) for part in (text or "").split(",") if part.strip()]
