"""How good the models are: ``python -m benchmarks.quality [SECTION ...] [--seeds 0,1,2] [--missing]``.

Runs the sections named, or all, once for each seed, keeps the figures in quality.json and writes quality.md from them. Each line is
a whole run with a real portal and real agents. The tables lie beside the checkout and are never part of it; a section whose table is
missing is left as it was (``FEDPORTAL_TABLES`` names another folder for them). All runs of a section and seed share one federation,
one split and one seed. ``--missing``: only what has no figures yet.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.rehearsed import rehearse
from benchmarks.sections import SECTIONS, Section

DATA = Path(os.environ.get("FEDPORTAL_TABLES", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))
REPORT = Path(__file__).with_name("quality.md")
KEPT = REPORT.with_suffix(".json")
SEEDS = "0,1,2"
Json = dict[str, Any]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.quality", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", choices=[*SECTIONS, []])
    parser.add_argument("--seeds", default=SEEDS, type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--missing", action="store_true", help="only what has no figures yet")
    parser.add_argument("--write", action="store_true", help="run nothing, write quality.md from quality.json")
    asked = parser.parse_args(argv)
    for name in [] if asked.write else asked.sections or SECTIONS:
        for seed in asked.seeds:
            _keep(name, seed, _measured(name, SECTIONS[name], seed, missing=asked.missing))
    kept = _kept()
    REPORT.write_text(HEAD + "".join(f"\n## {name}\n\n{_table(name, kept[name])}" for name in SECTIONS if name in kept))
    return 0


# ------------------------------------------------------------------------ the runs
def _measured(name: str, section: Section, seed: int, *, missing: bool) -> dict[str, Json]:
    """The figures of each run of a section by its name."""
    folder = DATA / section.table
    if not folder.is_dir():
        print(f"{name}: not run, {section.table} is not beside this checkout", file=sys.stderr)
        return {}
    known = _kept().get(name, {}) if missing else {}
    runs = [run for run in section.runs if str(seed) not in known.get(run, {})]
    if not runs:
        return {}
    meta = json.loads((folder / "meta.json").read_text())
    plans = [{"name": run, "settings": section.runs[run], "reference": run in section.judged} for run in runs]
    spec = {
        "data": str(folder / "data.parquet"), "label": meta["target"], "positive": meta["positive"], "drop": meta["drop"],
        "categorical": meta.get("cat", []), "seed": seed, "faults": section.faults, "plans": plans, "trees": section.trees,
        **section.how,
    }
    with tempfile.TemporaryDirectory() as scratch:
        results = rehearse(spec, folder=Path(scratch))
    return {row["name"]: _figures_of(row) for row in results}


def _figures_of(row: Json) -> Json:
    """What is kept of a run: figures and the day."""
    figures: Json = {"day": f"{datetime.now(UTC):%Y-%m-%d}", "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    if "refused" in row:
        return figures | {"refused": row["refused"]}
    if "rounds" not in row:
        return figures | {"auc": row["auc"], "ks": row["ks"]}
    local = [bank["auc"] for bank in row["local"] if bank["auc"] is not None]
    totals = row["totals"]
    return figures | {
        "auc": row["final"]["auc"], "ks": row["final"]["ks"], "central": (row["central"] or {}).get("auc"),
        "local": mean(local) if local else None, "rounds": _rounds_to(row), "up": totals["bytes_up"], "seconds": totals["seconds"],
        "epsilon": row["rounds"][-1]["epsilon"],
    }


def _rounds_to(row: Json, share: float = 0.99) -> int | None:
    """The first round whose pooled hold-out AUC is within one percent of the result's."""
    goal = share * (row["final"]["auc"] or 1.0)
    return next((done["number"] for done in row["rounds"] if done["auc"] is not None and done["auc"] >= goal), None)


def _kept() -> dict[str, dict[str, dict[str, Json]]]:
    """Section, run and seed to figures."""
    found: dict[str, dict[str, dict[str, Json]]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return found


def _keep(name: str, seed: int, rows: dict[str, Json]) -> None:
    kept = _kept()
    section = kept.setdefault(name, {})
    for run, figures in rows.items():
        section.setdefault(run, {})[str(seed)] = figures
    KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


# ------------------------------------------------------------------------ the report
HEAD = """# Quality

Written by `python -m benchmarks.quality [SECTION ...]`, figures kept in `quality.json`. Each line is the mean over its seeds, which are
the split's and the plan's; *from to* is the lowest and highest AUC. AUC and KS are those of the selected version on all banks' hold-out
rows together. *All in one place* and *a bank alone* are the same family and preprocessing, trained until their validation loss improves
no more (for newton: the optimum), on the same hold-out rows; *short of it* is how far the federation stays below the former. *trees* is
scikit-learn's HistGradientBoosting on all training rows in one place. *Rounds to 99 %* counts to the first version within one percent
of the result's AUC. With one seed, differences of less than about 0.003 are chance. Seconds were taken on a shared machine.
"""
COLUMNS = ("run", "seeds", "AUC", "from to", "KS", "all in one place", "short of it", "a bank alone", "epsilon", "rounds to 99 %", "up, MB",
           "seconds")  # fmt: skip


def _table(name: str, runs: dict[str, dict[str, Json]]) -> str:
    section = SECTIONS[name]
    order = [run for run in (*section.runs, "trees") if run in runs]
    lines = [_cells(run, runs[run]) for run in order]
    shown = [i for i, column in enumerate(COLUMNS) if i < 3 or any(line[i] for line in lines)]
    days = sorted({row["day"] for run in order for row in runs[run].values()})
    machines = sorted({row["machine"] for run in order for row in runs[run].values()})
    return "\n".join([
        f"**{section.title}.** {' to '.join(dict.fromkeys([days[0], days[-1]]))}, {'; '.join(machines)}.", "",
        f"| {' | '.join(COLUMNS[i] for i in shown)} |", "|" + "---|" * len(shown),
        *(f"| {' | '.join(line[i] for i in shown)} |" for line in lines), "",
    ])  # fmt: skip


def _cells(run: str, seeds: dict[str, Json]) -> list[str]:
    rows = [row for row in seeds.values() if row.get("auc") is not None]
    if not rows:
        return [run, ", ".join(seeds), next(iter(seeds.values())).get("refused", "no AUC"), *[""] * (len(COLUMNS) - 3)]
    aucs = [row["auc"] for row in rows]
    short = [row["central"] - row["auc"] for row in rows if row.get("central") is not None]
    return [
        run, ", ".join(sorted(seeds)), f"{mean(aucs):.4f}", f"{min(aucs):.4f} {max(aucs):.4f}" if len(aucs) > 1 else "",
        *_means(rows, "ks"), *_means(rows, "central"), f"{mean(short):.4f}" if short else "", *_means(rows, "local"),
        *_means(rows, "epsilon", "{:.2f}"), *_means(rows, "rounds", "{:.0f}"), *_means(rows, "up", "{:.2f}", 1e6),
        *_means(rows, "seconds", "{:.0f}"),
    ]  # fmt: skip


def _means(rows: list[Json], field: str, form: str = "{:.4f}", unit: float = 1.0) -> Iterator[str]:
    values = [row[field] for row in rows if row.get(field) is not None]
    yield form.format(mean(values) / unit) if values else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
