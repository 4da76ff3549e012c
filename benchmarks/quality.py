"""How good the models are: ``python -m benchmarks.quality [SECTION ...]`` runs the sections named, or all, and writes quality.md.

Each line is a whole run with a real portal and real agents. The tables lie beside the checkout and are never part of it; a section
whose table is missing says so (``FEDPORTAL_TABLES`` names another folder for them). All runs of a section share one federation, one
split and one seed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.rehearsed import rehearse

DATA = Path(os.environ.get("FEDPORTAL_TABLES", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))
REPORT = Path(__file__).with_name("quality.md")
SEED = 0
LOGISTIC = ["strategy.name=newton", "model.family=logistic", "schedule.rounds=8"]
MEANS = ("fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold", "fednova", "feddyn", "qfedavg", "ditto")
ROBUST = ("median", "trimmed_mean", "krum", "multikrum", "geometric_median", "centred_clipping", "norm_bound")
BEST = {
    "best mlp: piecewise, cosine": ["preprocessing.numeric=piecewise", "training.decay=cosine", "schedule.rounds=30"],
    "best logistic: piecewise, newton": [*LOGISTIC, "preprocessing.numeric=piecewise"],
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """``how``: the split. ``runs``: (name, settings). The first run and those in ``judged`` are set beside local and central."""

    title: str
    table: str
    how: Json
    runs: dict[str, list[str]]
    judged: tuple[str, ...] = ()
    faults: list[str] = field(default_factory=list)
    trees: bool = False


def _named(names: tuple[str, ...]) -> dict[str, list[str]]:
    return {name: [f"strategy.name={name}"] for name in names}


def _table(title: str, table: str, how: Json) -> dict[str, Section]:
    """A table's strategies in two sections, so that each takes minutes and not an hour."""
    judged = ("newton, logistic", *BEST)
    first = Section(title, table, how, {**_named(MEANS), "newton, logistic": LOGISTIC, **BEST}, judged, trees=True)
    return {"": first, "-robust": Section(f"{title}, robust rules", table, how, _named(ROBUST))}


HOSTILE = _named(("fedavg", *ROBUST))
WIDE = ["model.hidden=[512, 512]", "schedule.rounds=20"]
CODECS = {name: [*WIDE, f"compression.codec={name}"] for name in ("none", "bfloat16", "int8", "topk")}
SECTIONS: dict[str, Section] = {
    **{f"sba{end}": s for end, s in _table("SBA loans by lender (8)", "sba_loans", {"by": "Bank"}).items()},
    **{f"taiwan-sizes{end}": s for end, s in _table(
        "Taiwan default, 8 banks, each 1.5 times the size of the one before", "taiwan_default", {"banks": 8, "skew": "quantity:1.5"}
    ).items()},
    **{f"taiwan-labels{end}": s for end, s in _table(
        "Taiwan default, 8 banks, labels skewed by Dirichlet(0.5)", "taiwan_default", {"banks": 8, "skew": "label:0.5"}
    ).items()},
    "hostile": Section(
        "Taiwan default, 7 banks, one sends its update times minus ten", "taiwan_default", {"banks": 7}, HOSTILE,
        faults=["bank-3:all:uploading:flip"],
    ),
    "undisturbed": Section("Taiwan default, the same 7 banks, undisturbed", "taiwan_default", {"banks": 7}, HOSTILE),
    "codecs": Section("SBA loans by lender, mlp of 512 and 512, under each codec", "sba_loans", {"by": "Bank"}, CODECS),
}


def main(names: list[str]) -> int:
    if unknown := sorted(set(names) - set(SECTIONS)):
        print(f"no section named {', '.join(unknown)}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    for name in names or SECTIONS:
        _keep(name, "\n".join(_lines(SECTIONS[name])))
        print((_sections())[name], flush=True)
    return 0


def _lines(section: Section) -> Iterator[str]:
    folder = DATA / section.table
    if not folder.is_dir():
        yield f"**{section.title}.** Not run: {section.table} is not beside this checkout."
        return
    meta = json.loads((folder / "meta.json").read_text())
    first = next(iter(section.runs))
    asked = [
        {"name": name, "settings": settings, "reference": name in section.judged or (section.trees and name == first)}
        for name, settings in section.runs.items()
    ]
    spec = {
        "data": str(folder / "data.parquet"), "label": meta["target"], "positive": meta["positive"], "drop": meta["drop"],
        "categorical": meta.get("cat", []), "seed": SEED, "faults": section.faults, "plans": asked, "trees": section.trees, **section.how,
    }
    with tempfile.TemporaryDirectory() as kept:
        results = rehearse(spec, folder=Path(kept))
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    yield f"**{section.title}.** Seed {SEED}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}."
    yield ""
    yield "| run | AUC | KS | all rows in one place | a bank alone, mean | rounds to 99 % | up, MB | seconds |"
    yield "|---|---|---|---|---|---|---|---|"
    yield from (_line(row) for row in results)


def _line(row: Json) -> str:
    if "refused" in row:
        return f"| {row['name']} | {row['refused']} | | | | | | |"
    if "rounds" not in row:
        return f"| {row['name']} | {_figure(row['auc'])} | {_figure(row['ks'])} | | | | | |"
    central, local = (row["central"] or {}).get("auc"), [bank["auc"] for bank in row["local"] if bank["auc"] is not None]
    alone = sum(local) / len(local) if local else None
    totals = row["totals"]
    cells = [
        row["name"], _figure(row["final"]["auc"]), _figure(row["final"]["ks"]), _figure(central), _figure(alone),
        str(_rounds_to(row) or ""), f"{totals['bytes_up'] / 1e6:.2f}", f"{totals['seconds']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _rounds_to(row: Json, share: float = 0.99) -> int | None:
    """The first round whose pooled hold-out AUC is within one percent of the result's."""
    goal = share * (row["final"]["auc"] or 1.0)
    return next((done["number"] for done in row["rounds"] if done["auc"] is not None and done["auc"] >= goal), None)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


# ------------------------------------------------------------------------ the report
HEAD = """# Quality

Written by `python -m benchmarks.quality [SECTION ...]`; each section is the newest run of its name. AUC and KS are those of the selected
version on all banks' hold-out rows together. *All rows in one place* and *a bank alone* are the same family and preprocessing, trained
until their validation loss improves no more (for newton: the optimum), on the same hold-out rows. *trees* is scikit-learn's
HistGradientBoosting on all training rows in one place. *Rounds to 99 %* counts to the first version within one percent of the result's
AUC. One seed: differences of less than about 0.003 are chance. Seconds were taken on a shared machine.
"""


def _keep(name: str, body: str) -> None:
    sections = _sections() | {name: body.rstrip("\n") + "\n"}
    ordered = [key for key in SECTIONS if key in sections]
    REPORT.write_text(HEAD + "".join(f"\n## {key}\n\n{sections[key]}" for key in ordered))


def _sections() -> dict[str, str]:
    if not REPORT.exists():
        return {}
    _, *parts = REPORT.read_text().split("\n## ")
    return {title: body.rstrip("\n") + "\n" for title, _, body in (part.partition("\n\n") for part in parts)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
