"""Time to a given AUC, sync beside async, with one bank ten times slower, on data that the demo's generator makes.

One federation of four real agents runs both plans: 10 rounds, and versions of 3 updates until as many updates were spent. The
mark is the best AUC of the synchronous run less 0.01; a plan's time runs from its first round's opening to the publishing of
the first version at the mark. It is the AUC as the portal knows it, on all banks' hold-out rows; in async it knows it of those
versions that enough banks took as their base.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks.rehearsed import rehearse
from benchmarks.stage import ROOT

SLOW, ROUNDS, WITHIN = "east", 10, 0.01
COMMON = ["model.family=mlp", "model.hidden=[32, 16]", "training.epochs=4", f"schedule.rounds={ROUNDS}"]
PLANS = {"sync": [], "async": ["schedule.mode=async", "schedule.buffer=3"]}


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = {
            **_one_table(folder), "by": "bank", "top": 4, "faults": [f"{SLOW}:all:training:slow"],
            "plans": [{"name": plan, "settings": COMMON + settings} for plan, settings in PLANS.items()],
        }
        results = {row["name"]: row for row in rehearse(spec, folder=folder / "rehearsal")}
    mark = max(row["auc"] or 0.0 for row in results["sync"]["rounds"]) - WITHIN
    reached = {plan: _seconds_to(mark, row["rounds"]) for plan, row in results.items()}
    for plan, row in results.items():
        yield (
            f"{plan:<6} {_seconds(reached[plan])} to AUC {mark:.3f}; all {len(row['rounds'])} versions in "
            f"{row['totals']['seconds']:.1f} s, final AUC {row['final']['auc']:.4f}"
        )
    if reached["sync"] and reached["async"]:
        yield f"ratio  {reached['sync'] / reached['async']:6.1f} x sooner, with {SLOW} training ten times as long as it needs"


def _one_table(folder: Path) -> dict[str, Any]:
    """The generated banks' tables as one, with a column that says whose a row is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    argv = [sys.executable, "-m", "clientagent.rehearsal", "generate", "--scenario", "credit", "--out", str(folder / "banks")]
    made = json.loads(subprocess.run(argv, check=True, capture_output=True, cwd=ROOT).stdout)
    tables = [(bank["slug"], pq.read_table(bank["path"])) for bank in made["banks"]]
    whole = pa.concat_tables([table.append_column("bank", pa.array([slug] * len(table))) for slug, table in tables])
    pq.write_table(whole, folder / "applications.parquet")
    return {"data": str(folder / "applications.parquet"), "label": made["label"]["name"], "positive": made["label"]["positive"]}


def _seconds_to(mark: float, rounds: list[dict[str, Any]]) -> float | None:
    """When a version was known to be at ``mark`` or above. None where none was."""
    ends = accumulate(row["seconds"] for row in rounds)
    return next((end for end, row in zip(ends, rounds, strict=True) if (row["auc"] or 0.0) >= mark), None)


def _seconds(value: float | None) -> str:
    return "  never " if value is None else f"{value:6.1f} s"
