"""Calls of ``manage.py`` as a person makes them: a process of its own, from the repository's root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent


def manage(*argv: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *argv], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def simulate(out: Path, *argv: str) -> dict[str, Any]:
    """The result of a rehearsal that succeeds."""
    done = manage("simulate", *argv, "--json", str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def write_table(path: Path, rows: int = 1200) -> Path:
    """Applications whose default rate bends with income; a category, missing values, and a column of banks in two scripts."""
    rng = np.random.default_rng(0)
    income, debt = rng.normal(50, 15, rows).round(1), rng.exponential(10, rows).round(1)
    region = rng.choice(["north", "south", "île", "城市"], rows, p=[0.4, 0.3, 0.2, 0.1])
    risk = -1.5 + 0.05 * debt - 0.04 * (income - 50) + 0.8 * (region == "south") + 0.5 * (abs(income - 50) > 20)
    bad = rng.random(rows) < 1 / (1 + np.exp(-risk))
    bank = rng.choice(["Bank of A", "B & Co.", "第三银行", ""], rows, p=[0.5, 0.3, 0.15, 0.05])
    lines = ["income,debt,region,bank,bad"]
    for i in range(rows):
        value = "" if i % 17 == 0 else str(income[i])
        lines.append(f"{value},{debt[i]},{region[i]},{bank[i]},{'CHGOFF' if bad[i] else 'PIF'}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
