"""What boosted trees reach on the same rows in one place (scikit-learn's HistGradientBoosting): a mark that no federation here aims at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from clientagent.data import read_table, split_rows
from clientagent.preparation.preprocess import prepare
from clientagent.rehearsal.reference import exact_auc, exact_ks
from clientagent.wire.messages import PreprocessingSpec
from clientagent.wire.plan import Plan


def figures_of(plan: Plan, preprocessing: dict[str, Any], banks: Path) -> dict[str, float | None]:
    """AUC and KS on all hold-out rows together, trained on all training rows together, from the federation's own inputs."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    spec, parts = PreprocessingSpec.model_validate(preprocessing), []
    for row in json.loads(banks.read_text()):
        table = read_table(plan, row["path"])
        parts.append(prepare(spec, table, split_rows(plan, table)))
    matrix = np.concatenate([part.training.matrix for part in parts])
    labels = np.concatenate([part.training.labels for part in parts])
    model = HistGradientBoostingClassifier(random_state=0, early_stopping=True).fit(matrix, labels)
    chance = model.predict_proba(np.concatenate([part.holdout.matrix for part in parts]))[:, 1]
    truth = np.concatenate([part.holdout.labels for part in parts])
    return {"auc": exact_auc(chance, truth), "ks": exact_ks(chance, truth)}
