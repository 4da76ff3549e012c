"""References are honest opponents: same rows, same family, trained to their best, scored exactly."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.data import read_table, split_rows
from clientagent.preparation.statistics import statistics_report
from clientagent.rehearsal import reference, split
from clientagent.rehearsal.reference import exact_auc, exact_ks
from clientagent.wire.canonical import canonical
from clientagent.wire.errors import Malformed, Refusal
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import pack
from clientagent.wire.weights import initial_weights, layout_of
from rounds.algorithms.preprocessing import pool_statistics
from tests.agent.tables import plan_of

FEATURES = [{"name": f"x{i}", "kind": "numeric"} for i in range(8)]
scored = st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 0.25, 2.0, 7.0]), st.integers(0, 1)), min_size=1, max_size=40)


@given(scored)
def test_exact_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[float, int]]) -> None:
    bad = [score for score, label in rows if label]
    good = [score for score, label in rows if not label]
    got = exact_auc(np.array([score for score, _ in rows]), np.array([label for _, label in rows], np.int8))
    if not bad or not good:
        assert got is None
    else:
        assert got == pytest.approx(np.mean([(b > g) + (b == g) / 2 for b in bad for g in good]))


@given(scored)
def test_exact_ks_is_the_largest_gap_at_any_cut(rows: list[tuple[float, int]]) -> None:
    scores, labels = np.array([score for score, _ in rows]), np.array([label for _, label in rows], np.int8)
    got = exact_ks(scores, labels)
    if labels.all() or not labels.any():
        assert got is None
    else:
        gaps = [abs((scores[labels == 1] <= cut).mean() - (scores[labels == 0] <= cut).mean()) for cut in scores]
        assert got == pytest.approx(max(gaps))


def split_table(folder: Path, banks: int = 3, rows: int = 900) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 8)).round(4)
    default = (rng.random(rows) < 1 / (1 + np.exp(1 - 1.2 * x.sum(axis=1) / np.sqrt(8) * 1.5))).astype(int)
    body = [",".join(map(str, [*row, label])) for row, label in zip(x, default, strict=True)]
    path = folder / "t.csv"
    path.write_text("\n".join([",".join([*(f["name"] for f in FEATURES), "default"]), *body, ""]))
    options = {"label": "default", "positive": None, "by": None, "top": 8, "banks": banks, "skew": "iid", "seed": 0}
    (folder / "banks.json").write_text(split.run(data=str(path), out=str(folder), **options))
    return folder / "banks.json"


def prepared(folder: Path) -> tuple[Plan, dict[str, str]]:
    """A plan, its banks' tables, and the specification that the portal would freeze, as files."""
    banks = json.loads(split_table(folder).read_text())
    plan = plan_of(features=FEATURES, participants=[bank["institution"] for bank in banks], model__family="logistic")
    reports = []
    for bank in banks:
        table = read_table(plan, bank["path"])
        parts = split_rows(plan, table)
        reports.append(statistics_report(plan, table, parts, run=str(uuid.uuid4()), institution=bank["institution"], salt="x"))
    spec = pool_statistics(plan, reports)
    files = {"plan": canonical(plan), "preprocessing": canonical(spec)}
    files["model"] = pack(initial_weights(plan, len(spec.input_names)), layout_of(plan, len(spec.input_names)))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return plan, {"banks": str(folder / "banks.json"), **{name: str(folder / name) for name in files}}


def told(paths: dict[str, str], **changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(reference.run(**{**paths, "no_reference": False, **changes}))
    return result


def test_all_rows_together_beat_each_bank_and_an_untrained_model_knows_nothing(tmp_path: Path) -> None:
    _, paths = prepared(tmp_path)
    result = told(paths)
    assert [row["institution"] for row in result["local"]] == ["bank-1", "bank-2", "bank-3"]
    assert [row["rows"] for row in result["local"]] == [300, 300, 300]
    assert result["central"]["auc"] > np.mean([row["auc"] for row in result["local"]])
    assert result["final"] == {"auc": 0.5, "ks": 0.0, "gini": 0.0, "logloss": pytest.approx(np.log(2)), "brier": 0.25}
    assert all(row["final_own_auc"] == 0.5 and row["own_auc"] > 0.6 for row in result["local"])
    assert told(paths) == result


def test_references_can_be_left_out(tmp_path: Path) -> None:
    _, paths = prepared(tmp_path)
    result = told(paths, no_reference=True)
    assert (result["central"], result["local"], result["final"]["auc"]) == (None, [], 0.5)
    assert told({**paths, "model": None}, no_reference=True)["final"] is None


def test_a_specification_of_another_plan_is_refused(tmp_path: Path) -> None:
    plan, paths = prepared(tmp_path)
    (tmp_path / "plan").write_bytes(canonical(plan.model_copy(update={"project": "other"})))
    with pytest.raises(Refusal, match="the preprocessing of plan"):
        told(paths)


@pytest.mark.parametrize("missing", ["preprocessing", "plan", "banks", "model"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    _, paths = prepared(tmp_path)
    with pytest.raises(Malformed, match=missing):
        told({**paths, missing: None if missing == "preprocessing" else str(tmp_path / f"no-{missing}")})


def test_a_refusal_is_one_line_of_json_and_exit_code_one(tmp_path: Path) -> None:
    argv = ["split", "--data", str(tmp_path / "gone.csv"), "--label", "y", "--banks", "2", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "clientagent.rehearsal", *argv], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    problem = json.loads(done.stderr)
    assert problem["code"] == "data_unfit"
    assert "gone.csv" in problem["got"]
