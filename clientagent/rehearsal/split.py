"""Splits one table into the tables of several banks: by a column, or by a seeded skew."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clientagent.rehearsal.draft import positive_of
from clientagent.rehearsal.whole import read_whole, require_columns
from clientagent.wire.errors import DataUnfit
from clientagent.wire.plan import as_text

Places = NDArray[np.int64]


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
    import pyarrow.parquet as parquet

    if (by is None) == (banks is None):
        raise DataUnfit(expected="either --by COLUMN or --banks N", got="both or neither", action="Correct the options.")
    table = read_whole(data)
    require_columns(table, [label], "--label")
    generator = np.random.default_rng(seed)
    if by is not None:
        require_columns(table, [by], "--by")
        names, parts = by_column(table.column(by).to_pylist(), top)
        table = table.drop_columns([by])
    else:
        wanted = as_text(positive_of(table.column(label), positive))
        positives = np.array([value is not None and as_text(value) == wanted for value in table.column(label).to_pylist()])
        names = [f"bank-{i + 1}" for i in range(banks or 0)]
        parts = by_skew(positives, len(names), skew, generator)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for slug, name, part in zip(slugs(names), names, parts, strict=True):
        path = folder / f"{slug}.parquet"
        parquet.write_table(table.take(np.sort(part)), path)
        rows.append({"institution": slug, "name": name, "rows": len(part), "path": str(path.resolve())})
    return json.dumps(rows)


def by_column(values: Iterable[Any], top: int) -> tuple[list[str], list[Places]]:
    """The rows of the ``top`` largest values, largest first; rows without a value are left out."""
    places: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        if value is not None and as_text(value):
            places.setdefault(as_text(value), []).append(i)
    largest = sorted(places, key=lambda name: (-len(places[name]), name))[:top]
    if not largest:
        raise DataUnfit(expected="values in the --by column", got="none", action="Correct --by.")
    return largest, [np.array(places[name]) for name in largest]


def by_skew(positives: NDArray[np.bool_], banks: int, skew: str, generator: np.random.Generator) -> list[Places]:
    """``iid``: alike. ``label:A``: Dirichlet(A) shares of each class. ``quantity:R``: each bank R times the one before."""
    kind, _, text = skew.partition(":")
    if banks < 1 or len(positives) < banks:
        raise DataUnfit(expected=f"1 to {len(positives)} banks", got=str(banks), action="Correct --banks.")
    order = generator.permutation(len(positives))
    if kind == "iid" and not text:
        return _cut(order, np.full(banks, 1 / banks))
    parameter = _number(text, skew)
    if kind == "quantity":
        sizes = parameter ** np.arange(banks, dtype=np.float64)
        return _cut(order, sizes / sizes.sum())
    if kind != "label":
        raise DataUnfit(expected="iid, label:ALPHA or quantity:RATIO", got=skew, action="Correct --skew.")
    shares = generator.dirichlet(np.full(banks, parameter), size=2)
    classes = [_cut(order[positives[order] == bad], shares[int(bad)]) for bad in (False, True)]
    return [np.concatenate(pair) for pair in zip(*classes, strict=True)]


def _cut(order: Places, shares: NDArray[np.float64]) -> list[Places]:
    ends = np.round(np.cumsum(shares) * len(order)).astype(int)
    return np.split(order, ends[:-1])


def _number(text: str, skew: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise DataUnfit(expected="a positive number after the colon", got=skew, action="Correct --skew.")
    return value


def slugs(names: Iterable[str]) -> list[str]:
    """Unique slugs of these names, in their order."""
    made: list[str] = []
    for name in names:
        letters = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50] or "bank"
        slug, n = letters, 2
        while slug in made:
            slug, n = f"{letters}-{n}", n + 1
        made.append(slug)
    return made
