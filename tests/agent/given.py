"""What the agent's tests start from: a plan for one bank, a table that fits it, a policy that accepts it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from clientagent.agent import Agent
from clientagent.faults import Fault, Faults
from clientagent.home import Home
from clientagent.portal import Portal
from clientagent.transport import Transport
from clientagent.wire.plan import Plan, parse_plan

POLICY = """
[accept]
projects = ["retail-credit"]
[data."retail-credit"]
path = "table.csv"
lineage = "retail"
"""


def one_bank_plan(**changes: Any) -> Plan:
    """Two rounds of a logistic model without training; ``training__epochs=1`` sets a field of a part."""
    document: dict[str, Any] = {
        "project": "retail-credit",
        "features": [{"name": "income", "kind": "numeric"}, {"name": "region", "kind": "categorical"}],
        "label": {"name": "default", "positive": 1},
        "participants": ["north"],
        "model": {"family": "logistic", "hidden": []},
        "training": {"epochs": 0},
        "schedule": {"rounds": 2},
        "privacy": {"min_banks": 1, "min_banks_reason": "a test of one bank"},
    }
    for name, value in changes.items():
        part, _, field = name.partition("__")
        document[part] = {**document.get(part, {}), field: value} if field else value
    return parse_plan(document)


def write_table(path: Path, *, rows: int = 200, seed: int = 0, **columns: Any) -> Path:
    """A table in which a low income foretells default; ``columns`` replace or, with None, leave out a column."""
    rng = np.random.default_rng(seed)
    income = rng.normal(50, 10, rows).round(2)
    table: dict[str, Any] = {
        "income": income, "region": rng.choice(["a", "b", "c"], rows),
        "default": (income + rng.normal(0, 8, rows) < 45).astype(int), **columns,
    }  # fmt: skip
    kept = {name: column for name, column in table.items() if column is not None}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(kept)
        writer.writerows(zip(*kept.values(), strict=True))
    return path


def run_agent(home: Home, *, idle_s: float = 0, once: bool = False, faults: list[Fault] | None = None) -> None:
    """The agent in this process, until the portal has nothing more."""
    transport = Transport(home.require_identity().portal, home.key, patience_s=2)
    try:
        Agent(home, Portal(transport, home), Faults(faults or [], home.path / "faults")).run(once=once, until_idle_s=idle_s)
    finally:
        transport.close()
