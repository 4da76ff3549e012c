"""What the tests of the bank's tables start from: a plan over three kinds of column, and files written as banks write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clientagent.data import Categories, Report, Table, check_table
from clientagent.wire.plan import Plan, parse_plan

HEADER = "income,age,region,default"


def plan_of(**changes: Any) -> Plan:
    """Two numbers, one category, the label ``default``; ``privacy__min_cell=2`` sets a field of a part."""
    document: dict[str, Any] = {
        "project": "retail-credit",
        "features": [
            {"name": "income", "kind": "numeric"}, {"name": "age", "kind": "numeric"}, {"name": "region", "kind": "categorical"},
        ],
        "label": {"name": "default", "positive": 1},
        "participants": ["east", "north", "south", "west"],
    }  # fmt: skip
    for name, value in changes.items():
        part, _, field = name.partition("__")
        document[part] = {**document.get(part, {}), field: value} if field else value
    return parse_plan(document)


def lines(rows: int = 20) -> list[str]:
    return [f"{1000 + i}.5,{20 + i % 40},{'abc'[i % 3]},{int(i % 4 == 0)}" for i in range(rows)]


def write(path: Path, *body: str, header: str = HEADER, encoding: str = "utf-8", end: str = "\n") -> Path:
    path.write_bytes(end.join([header, *body, ""]).encode(encoding))
    return path


def report_of(path: Path, **changes: Any) -> Report:
    return check_table(plan_of(**changes), path)


def sentences(report: Report) -> list[str]:
    return [finding.sentence for finding in report.problems]


def random_table(rows: int, seed: int = 0) -> Table:
    """Columns of ``plan_of``: a tenth of the incomes missing, some regions missing, one customer in four in default."""
    rng = np.random.default_rng(seed)
    income = rng.normal(50, 10, rows)
    income[rng.random(rows) < 0.1] = np.nan
    regions = Categories(rng.integers(-1, 4, rows).astype(np.int32), ["a", "b", "c", "d"])
    labels = (rng.random(rows) < 0.25).astype(np.int8)
    return Table(rows, {"income": income, "age": rng.integers(18, 80, rows).astype(float)}, {"region": regions}, labels)
