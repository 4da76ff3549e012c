"""What ``benchmarks.quality`` runs: a section is one table, one split, and the plans that are compared on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Runs = dict[str, list[str]]

MEANS = ("fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold", "fednova", "feddyn", "qfedavg", "ditto")
ROBUST = ("median", "trimmed_mean", "krum", "multikrum", "geometric_median", "centred_clipping", "norm_bound")
NEWTON = ["strategy.name=newton", "model.family=logistic", "schedule.rounds=8"]
BEST_MLP = ["preprocessing.numeric=piecewise", "strategy.name=scaffold", "training.decay=cosine", "schedule.rounds=30"]
BEST: Runs = {
    "mlp, as drafted": [],
    "best mlp: piecewise, scaffold, cosine": BEST_MLP,
    "newton, logistic": NEWTON,
    "best logistic: piecewise, newton": [*NEWTON, "preprocessing.numeric=piecewise"],
}


@dataclass(frozen=True)
class Section:
    """``how``: the split. ``runs``: (name, settings). Those in ``judged`` are set beside local and central models."""

    title: str
    table: str
    how: Json
    runs: Runs
    judged: tuple[str, ...] = ()
    faults: list[str] = field(default_factory=list)
    trees: bool = False


def _named(names: tuple[str, ...], *settings: str) -> Runs:
    return {name: [f"strategy.name={name}", *settings] for name in names}


def _table(title: str, table: str, how: Json, **more: list[str]) -> dict[str, Section]:
    """A table's best plans, and its strategies in two sections, so that each takes minutes and not an hour."""
    best = BEST | {name.replace("_", " "): settings for name, settings in more.items()}
    return {
        "-best": Section(f"{title}: best plans", table, how, best, judged=tuple(best), trees=True),
        "": Section(title, table, how, _named(MEANS)),
        "-robust": Section(f"{title}, robust rules", table, how, _named(ROBUST)),
    }


SBA: Json = {"by": "Bank"}
HOSTILE = _named(("fedavg", *ROBUST))
WIDE = ["model.hidden=[512, 512]", "schedule.rounds=20"]
CODECS = {name: [*WIDE, f"compression.codec={name}"] for name in ("none", "bfloat16", "int8", "topk")}
MASKS = ["privacy.secure_aggregation.threshold=0.6"]
MASKED: Runs = {
    "no masks": [], "no masks, int8": ["compression.codec=int8"],
    "masks": MASKS, "masks, int8": [*MASKS, "compression.codec=int8"],
}
ASYNC = {f"async {name}": [f"strategy.name={name}", "schedule.mode=async"]
         for name in ("fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "ditto")}
LOGISTIC = ["model.family=logistic"]
PRIVATE: Runs = {
    "no noise": LOGISTIC,
    **{f"epsilon {epsilon}": [*LOGISTIC, f"privacy.record_dp.epsilon={epsilon}"] for epsilon in (8, 1)},
}

TABLES: dict[str, dict[str, Section]] = {
    "sba": _table("SBA loans by lender (8)", "sba_loans", SBA),
    "taiwan-sizes": _table(
        "Taiwan default, 8 banks, each 1.5 times the size of the one before", "taiwan_default", {"banks": 8, "skew": "quantity:1.5"}
    ),
    "taiwan-labels": _table(
        "Taiwan default, 8 banks, labels skewed by Dirichlet(0.5)", "taiwan_default", {"banks": 8, "skew": "label:0.5"},
        the_same_for_60_rounds_of_2_epochs=[*BEST_MLP, "training.epochs=2", "schedule.rounds=60"],
    ),
    "fraud": _table("UCSD fraud by customers' state (8)", "ucsd_fraud", {"by": "state1"}),
    "german": _table("German credit, 5 banks", "german_credit", {"banks": 5}),
}
SECTIONS: dict[str, Section] = {
    **{f"{name}{end}": section for name, sections in TABLES.items() for end, section in sections.items()},
    "hostile": Section(
        "Taiwan default, 7 banks, one sends its update times minus ten", "taiwan_default", {"banks": 7}, HOSTILE,
        faults=["bank-3:all:uploading:flip"],
    ),
    "undisturbed": Section("Taiwan default, the same 7 banks, undisturbed", "taiwan_default", {"banks": 7}, HOSTILE),
    "async": Section("SBA loans by lender (8), a version of every two updates", "sba_loans", SBA, ASYNC),
    "privacy-taiwan": Section("Taiwan default, 5 banks, logistic, noise for each customer", "taiwan_default", {"banks": 5}, PRIVATE),
    "privacy-fraud": Section(
        "UCSD fraud by customers' state (8), logistic, noise for each customer", "ucsd_fraud", {"by": "state1"}, PRIVATE
    ),
    "masked": Section("SBA loans by lender (8), under masks", "sba_loans", SBA, MASKED),
    "codecs": Section("SBA loans by lender, mlp of 512 and 512, under each codec", "sba_loans", SBA, CODECS),
}
