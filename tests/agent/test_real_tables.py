"""Real tables, read from beside the checkout and never copied into it: what holds for made-up data holds for them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from clientagent.data import read_table, split_rows
from clientagent.evaluation.scores import mean_loss, score
from clientagent.preparation.preprocess import Inputs, Prepared, prepare
from clientagent.preparation.statistics import statistics_report
from clientagent.rehearsal import draft, split
from clientagent.rehearsal.reference import best_of, exact_auc
from clientagent.training.local import train
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.weights import initial_weights
from rounds.algorithms.preprocessing import pool_statistics

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SPLITS = {
    "sba_loans": {"by": "Bank", "banks": None, "skew": "iid"},
    "taiwan_default": {"by": None, "banks": 8, "skew": "quantity:0.5"},
    "ucsd_fraud": {"by": "state1", "banks": None, "skew": "iid"},
    "german_credit": {"by": "purpose", "banks": None, "skew": "iid"},
}


def federation(name: str, folder: Path, **changes: Any) -> tuple[Plan, list[Prepared]]:
    """A drafted plan and what each bank would train on. Skips where the table is not on this machine."""
    path = DATA / name / "data.parquet"
    if not path.exists():
        pytest.skip(f"the real table {name} is not beside the checkout")
    meta, how = json.loads((DATA / name / "meta.json").read_text()), SPLITS[name]
    about = {"data": str(path), "label": meta["target"], "positive": str(meta["positive"])}
    banks = json.loads(split.run(**about, **how, top=8, seed=0, out=str(folder)))
    drop = ",".join(column for column in meta["drop"] if column != how["by"])
    participants = ",".join(bank["institution"] for bank in banks)
    text = draft.run(**about, drop=drop, categorical=None, by=how["by"], participants=participants, project=name.replace("_", "-"))
    plan = parse_plan({**yaml.safe_load(text), **changes})
    tables = [read_table(plan, bank["path"]) for bank in banks]
    splits = [split_rows(plan, table) for table in tables]
    spec = pool_statistics(plan, [
        statistics_report(plan, table, parts, run=str(uuid.uuid4()), institution=bank["institution"], salt="x")
        for bank, table, parts in zip(banks, tables, splits, strict=True)
    ])
    return plan, [prepare(spec, table, parts) for table, parts in zip(tables, splits, strict=True)]


def together(parts: list[Inputs]) -> Inputs:
    return Inputs(np.concatenate([part.matrix for part in parts]), np.concatenate([part.labels for part in parts]))


def federated(plan: Plan, banks: list[Prepared]) -> np.ndarray:
    """FedAvg by rows in this process; the version with the lowest pooled validation loss."""
    flat = initial_weights(plan, banks[0].training.matrix.shape[1])
    shares = np.array([len(bank.training.labels) for bank in banks], float)
    validation, versions = together([bank.validation for bank in banks]), []
    for number in range(1, plan.schedule.rounds + 1):
        updates = [train(plan, flat, bank.training, round_number=number, seed=97 * number + i).update for i, bank in enumerate(banks)]
        flat = (flat + np.average(updates, axis=0, weights=shares)).astype(np.float32)
        versions.append(flat)
    return min(versions, key=lambda version: mean_loss(plan, version, validation))


@pytest.mark.parametrize("name", ["sba_loans", "taiwan_default", "german_credit"])
def test_every_bank_of_a_real_table_can_take_part(tmp_path: Path, name: str) -> None:
    _, banks = federation(name, tmp_path)
    assert len(banks) == 8
    for bank in banks:
        for part in (bank.training, bank.holdout):
            assert np.isfinite(part.matrix).all()
            assert np.abs(part.matrix).max() <= 8
    matrix = together([bank.training for bank in banks]).matrix
    assert np.abs(matrix.mean(axis=0)).max() < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sba_loans", "taiwan_default", "ucsd_fraud"])
@pytest.mark.parametrize("family", ["logistic", "mlp"])
def test_a_federation_comes_near_to_all_rows_in_one_place(tmp_path: Path, name: str, family: str) -> None:
    plan, banks = federation(name, tmp_path, model={"family": family})
    training, validation, holdout = (
        together([getattr(bank, part) for bank in banks]) for part in ("training", "validation", "holdout")
    )
    central = exact_auc(score(plan, best_of(plan, training, validation), holdout.matrix), holdout.labels)
    auc = exact_auc(score(plan, federated(plan, banks), holdout.matrix), holdout.labels)
    assert auc is not None
    assert central is not None
    assert auc > central - 0.02
