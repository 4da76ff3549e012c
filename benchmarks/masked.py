"""What secure aggregation costs a round: 10 banks, a million parameters, one pass over 2,400 rows each, two banks that drop out.

Three whole ``simulate`` runs: plain, masked with all banks, and masked with two that never send their masked vector. From each
round of the last the stage's time is taken off, which is the wait for the dropped.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BANKS, ROWS, FEATURES, ROUNDS = 10, 24_000, 23, 4
STAGE_S = 5.0
PLAN = [
    "model.family=mlp", "model.hidden=[1024, 960]", "training.epochs=1", f"schedule.rounds={ROUNDS}",
    f"schedule.stage_timeout_s={STAGE_S:g}",
]
MASKED = ["privacy.secure_aggregation.threshold=0.6"]
DROPPED = [f"--fault=bank-{bank}:all:masked:drop" for bank in (3, 7)]
TARGET = 2.0


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        table = _write_table(Path(name))
        plain = _seconds(table, PLAN)
        yield f"plain                      {plain:6.2f} s a round"
        whole = _seconds(table, PLAN + MASKED)
        yield f"masked, all banks          {whole:6.2f} s a round, {whole / plain:.2f} x"
        short = _seconds(table, PLAN + MASKED, *DROPPED) - STAGE_S
        yield f"masked, two dropped        {short:6.2f} s a round beside the wait for them, {short / plain:.2f} x (target below {TARGET:g})"


def _write_table(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((ROWS, FEATURES))
    label = rng.random(ROWS) < 1 / (1 + np.exp(1 - values[:, 0] - values[:, 1] * values[:, 2]))
    head = ",".join([f"x{i}" for i in range(FEATURES)] + ["bad"])
    path = folder / "rows.csv"
    np.savetxt(path, np.column_stack([values, label]), delimiter=",", fmt=["%.4f"] * FEATURES + ["%d"], header=head, comments="")
    return path


def _seconds(table: Path, plan: list[str], *more: str) -> float:
    """Median of the rounds after the first."""
    out = table.with_suffix(".json")
    argv = [sys.executable, "manage.py", "simulate", "--data", str(table), "--label", "bad", "--banks", str(BANKS), "--no-reference"]
    for setting in plan:
        argv += ["--set", setting]
    subprocess.run([*argv, *more, "--json", str(out)], check=True, capture_output=True)
    rounds = json.loads(out.read_text())["rounds"][1:]
    return statistics.median(row["seconds"] for row in rounds)
