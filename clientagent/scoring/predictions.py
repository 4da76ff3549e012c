"""Where predictions go: a CSV, JSON Lines or Parquet file, whole or not at all. Written as they come, in flat memory."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from clientagent.files import PRIVATE
from clientagent.scoring.scorer import Prediction, Wish
from clientagent.wire.errors import DataUnfit

FORMATS = (".csv", ".jsonl", ".parquet")


class Writer(Protocol):
    def add(self, predictions: list[Prediction]) -> None: ...
    def close(self) -> None: ...


@contextmanager
def written(path: Path, wish: Wish) -> Iterator[Writer]:
    """A writer whose file appears under its name when all is written. Raises ``DataUnfit`` for another format."""
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise DataUnfit(expected=f"--out FILE ending in {', '.join(FORMATS)}", got=path.name, action="Rename the output file.")
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE))
    try:
        writer: Writer = _WRITERS[kind](beside, wish)
        try:
            yield writer
        finally:
            writer.close()
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def columns_of(wish: Wish) -> list[str]:
    names = ["row", *wish.ids, "score", "probability"]
    for i in range(1, wish.reasons + 1):
        names += [f"reason_{i}", f"reason_{i}_text", f"reason_{i}_contribution", f"reason_{i}_change"]
    return names


def cells_of(prediction: Prediction, wish: Wish) -> list[Any]:
    """One row of a table; reasons that are not there are empty."""
    cells: list[Any] = [prediction.row, *prediction.ids, prediction.score, round(prediction.probability, 8)]
    for i in range(wish.reasons):
        reason = prediction.reasons[i] if i < len(prediction.reasons) else None
        cells += [reason.code, reason.text, round(reason.contribution, 6), reason.change] if reason else [None] * 4
    return cells


def as_json(prediction: Prediction, wish: Wish) -> dict[str, Any]:
    return {
        "row": prediction.row, **dict(zip(wish.ids, prediction.ids, strict=True)), "score": prediction.score,
        "probability": round(prediction.probability, 8), "reasons": [asdict(reason) for reason in prediction.reasons],
    }  # fmt: skip


class _Csv:
    def __init__(self, path: Path, wish: Wish) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._wish, self._rows = wish, csv.writer(self._file)
        self._rows.writerow(columns_of(wish))

    def add(self, predictions: list[Prediction]) -> None:
        self._rows.writerows([_plain(cell) for cell in cells_of(one, self._wish)] for one in predictions)

    def close(self) -> None:
        self._file.close()


def _plain(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula is quoted."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


class _Lines:
    def __init__(self, path: Path, wish: Wish) -> None:
        self._file, self._wish = path.open("w", encoding="utf-8"), wish

    def add(self, predictions: list[Prediction]) -> None:
        self._file.writelines(json.dumps(as_json(one, self._wish), ensure_ascii=False) + "\n" for one in predictions)

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, wish: Wish) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise DataUnfit(
                expected="pyarrow, which writing Parquet needs", got="none",
                action="pip install 'fedagent[data]', or name a .csv file.",
            ) from error  # fmt: skip
        self._arrow, self._wish = pyarrow, wish
        kinds = {"row": pyarrow.int64(), "score": pyarrow.int64(), "probability": pyarrow.float64()}
        fields = [
            (name, pyarrow.float64() if name.endswith("_contribution") else kinds.get(name, pyarrow.string()))
            for name in columns_of(wish)
        ]
        self._schema = pyarrow.schema(fields)
        self._file = pyarrow.parquet.ParquetWriter(path, self._schema)

    def add(self, predictions: list[Prediction]) -> None:
        columns = list(zip(*(cells_of(one, self._wish) for one in predictions), strict=True))
        arrays = [self._arrow.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._file.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._file.close()


_WRITERS: dict[str, Callable[[Path, Wish], Writer]] = {".csv": _Csv, ".jsonl": _Lines, ".parquet": _Parquet}
