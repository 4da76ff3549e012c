"""Splits one table into the tables of several banks: by a column, or by a seeded skew."""

from __future__ import annotations

import json
import re
import unicodedata
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clientagent.data.check import MIN_ROWS
from clientagent.data.columns import is_missing
from clientagent.data.source import column_name
from clientagent.rehearsal.draft import positive_of
from clientagent.rehearsal.whole import read_whole, require_columns
from clientagent.wire.errors import DataUnfit
from clientagent.wire.plan import as_text

Places = NDArray[np.int64]
FEW_OF_A_CLASS = 5
"""A label skew leaves each bank at least so many rows of each class, where there are enough: fewer teach and tell nothing."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument("--positive")
    parser.add_argument("--by", help="the column that names the institution")
    parser.add_argument("--top", type=int, default=8, help="with --by: how many of its largest values (default 8)")
    parser.add_argument("--banks", type=int, help="how many banks, without a column")
    parser.add_argument("--skew", default="iid", help="iid, label:ALPHA or quantity:RATIO")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)


def run(
    *, data: str, label: str, positive: str | None, by: str | None, top: int, banks: int | None, skew: str, seed: int, out: str
) -> str:
    """Write one Parquet file a bank; JSON [{institution, name, rows, path}]. Raises ``DataUnfit``."""
    if (by is None) == (banks is None):
        raise DataUnfit(expected="either --by COLUMN or --banks N", got="both or neither", action="Correct the options.")
    table, label = read_whole(data), column_name(label)
    require_columns(table, [label], "--label")
    wanted = as_text(positive_of(table.column(label), positive))
    labels = ["" if value is None else as_text(value) for value in table.column(label).to_pylist()]
    if by is not None:
        by = column_name(by)
        require_columns(table, [by], "--by")
        if by == label:
            raise DataUnfit(expected="an institution column that is not the label", got=by, action="Correct --by.")
        names, parts = by_column(table.column(by).to_pylist(), top)
        table = table.drop_columns([by])
    else:
        names = [f"bank-{i + 1}" for i in range(banks or 0)]
        parts = by_skew(np.array([text == wanted for text in labels]), len(names), skew, np.random.default_rng(seed))
    require_enough(names, parts, np.array([not is_missing(text) for text in labels]))
    return json.dumps(_written(table, names, parts, Path(out)))


def require_enough(names: list[str], parts: list[Places], labelled: NDArray[np.bool_]) -> None:
    """Every bank has the rows that its own agent will ask for. Raises ``DataUnfit`` naming the smallest."""
    counts = [int(labelled[part].sum()) for part in parts]
    smallest = int(np.argmin(counts))
    if counts[smallest] < MIN_ROWS:
        most = int(labelled.sum()) // MIN_ROWS
        enough = f"at most {most} banks have that many rows of this table" if most else "this table is too small for any"
        raise DataUnfit(
            expected=f"at least {MIN_ROWS} rows with a label for each of {len(names)} banks",
            got=f"{counts[smallest]} for {names[smallest]}",
            action=f"Choose fewer banks (--banks or --top): {enough}, if they are split evenly.",
        )


def by_column(values: Iterable[Any], top: int) -> tuple[list[str], list[Places]]:
    """The rows of the ``top`` largest values, largest first; rows without a value are left out."""
    places: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        text = "" if value is None else as_text(value)
        if not is_missing(text):
            places.setdefault(text, []).append(i)
    largest = sorted(places, key=lambda name: (-len(places[name]), name))[: max(top, 0)]
    if not largest:
        raise DataUnfit(expected="values in the --by column", got="none", action="Correct --by or --top.")
    return largest, [np.array(places[name]) for name in largest]


def by_skew(positives: NDArray[np.bool_], banks: int, skew: str, rng: np.random.Generator) -> list[Places]:
    """``iid``: alike. ``quantity:R``: each bank R times the one before. Both keep the share of each class.

    ``label:A``: Dirichlet(A) shares of each class over the banks (Li et al. 2022, "Federated learning on non-IID data silos").
    """
    if not 1 <= banks <= len(positives):
        raise DataUnfit(expected=f"1 to {len(positives)} banks", got=str(banks), action="Correct --banks.")
    kind, _, text = skew.partition(":")
    if kind == "iid" and not text:
        shares = np.full((2, banks), 1 / banks)
    elif kind == "quantity":
        sizes = _number(text, skew) ** np.arange(banks, dtype=np.float64)
        shares = np.tile(sizes / sizes.sum(), (2, 1))
    elif kind == "label":
        shares = rng.dirichlet(np.full(banks, _number(text, skew)), size=2)
    else:
        raise DataUnfit(expected="iid, label:ALPHA or quantity:RATIO", got=skew, action="Correct --skew.")
    order = rng.permutation(len(positives))
    least = FEW_OF_A_CLASS if kind == "label" else 0
    good, bad = (_cut(order[positives[order] == which], shares[int(which)], least) for which in (False, True))
    parts = [np.concatenate(pair) for pair in zip(good, bad, strict=True)]
    if empty := [i + 1 for i, part in enumerate(parts) if len(part) == 0]:
        raise DataUnfit(
            expected="rows for each bank", got=f"none for bank-{empty[0]}", action="Choose fewer banks or a milder --skew."
        )
    return parts


def slugs(names: Iterable[str]) -> list[str]:
    """Unique slugs of these names, in their order. A name without a Latin letter becomes ``bank-N`` by its place."""
    made: list[str] = []
    for i, name in enumerate(names):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        letters = re.sub(r"[^a-z0-9]+", "-", plain)[:50].strip("-") or f"bank-{i + 1}"
        slug, n = letters, 2
        while slug in made:
            slug, n = f"{letters}-{n}", n + 1
        made.append(slug)
    return made


def _written(table: Any, names: list[str], parts: list[Places], folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for slug, name, part in zip(slugs(names), names, parts, strict=True):
        path = folder / f"{slug}.parquet"
        parquet.write_table(table.take(np.sort(part)), path)
        rows.append({"institution": slug, "name": name, "rows": len(part), "path": str(path.resolve())})
    return rows


def _cut(places: Places, shares: NDArray[np.float64], least: int) -> list[Places]:
    """Parts of these rows by their shares; at least ``least`` each, taken from the largest, where there are enough."""
    ends = np.round(np.cumsum(shares) * len(places)).astype(np.int64)
    sizes = np.concatenate([ends[:1], ends[1:] - ends[:-1]])
    sizes[-1] += len(places) - sizes.sum()
    while least * len(sizes) <= len(places) and (short := np.flatnonzero(sizes < least)).size:
        largest = np.argmax(sizes)
        moved = min(least - sizes[short[0]], sizes[largest] - least)
        sizes[short[0]] += moved
        sizes[largest] -= moved
    return np.split(places, np.cumsum(sizes)[:-1])


def _number(text: str, skew: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1e-3 <= value <= 1e3:
        raise DataUnfit(expected="a number from 0.001 to 1000 after the colon", got=skew, action="Correct --skew.")
    return value
