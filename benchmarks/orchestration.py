"""What a round costs beside training: 4 real agents, a logistic model of 31 parameters, ``epochs: 0``; median of rounds 2 to 20.

Once without evaluation and once with it, each a whole ``simulate`` with its portal, HTTP, signatures and ledger.
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

FEATURES, ROWS, ROUNDS = 30, 4000, 20
WITHOUT = ["evaluation.every=0", "schedule.select=last"]
TARGET_S = {"without evaluation": 0.1, "with evaluation": 0.2}


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        table = write_table(Path(name))
        for title, settings in (("without evaluation", WITHOUT), ("with evaluation", [])):
            seconds, peak = _rounds(table, settings)
            target = f"target {TARGET_S[title] * 1000:.0f}"
            yield f"{title:<20} {seconds * 1000:7.0f} ms a round ({target}), portal's peak {peak:.0f} MiB"


def run_large() -> Iterator[str]:
    """10 million parameters, 4 agents, no training: rounds 2 to 5."""
    with tempfile.TemporaryDirectory() as name:
        table = write_table(Path(name))
        settings = ["model.family=mlp", "model.hidden=[3140, 3140]", "schedule.rounds=5", *WITHOUT]
        seconds, peak = _rounds(table, settings)
        yield f"10 M parameters      {seconds:7.2f} s a round (target 1.5), portal's peak {peak:.0f} MiB (target 200)"


def write_table(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((ROWS, FEATURES))
    label = rng.random(ROWS) < 1 / (1 + np.exp(1 - values[:, 0]))
    head = ",".join([f"x{i}" for i in range(FEATURES)] + ["bad"])
    path = folder / "rows.csv"
    np.savetxt(path, np.column_stack([values, label]), delimiter=",", fmt=["%.4f"] * FEATURES + ["%d"], header=head, comments="")
    return path


def _rounds(table: Path, settings: list[str]) -> tuple[float, float]:
    plan = ["model.family=logistic", "training.epochs=0", f"schedule.rounds={ROUNDS}", *settings]  # the last of a name counts
    out = table.with_suffix(".json")
    argv = [sys.executable, "manage.py", "simulate", "--data", str(table), "--label", "bad", "--banks", "4", "--no-reference"]
    for setting in plan:
        argv += ["--set", setting]
    subprocess.run([*argv, "--json", str(out)], check=True, capture_output=True)
    result = json.loads(out.read_text())
    return statistics.median(row["seconds"] for row in result["rounds"][1:]), result["totals"]["peak_rss_mb"] or 0.0
