"""``fedagent predict``: a verified model scores a file with reasons; a changed one scores nothing."""

from __future__ import annotations

import csv
import json

import pyarrow.parquet as parquet
import pytest

from tests.agent.given import run_agent, write_table
from tests.agent.test_cli import as_json, fedagent


@pytest.fixture
def holder(serve, bank):
    """A bank whose run has finished: it holds the model."""
    portal = serve(training__epochs=1)
    home = bank(portal)
    run_agent(home)
    return home


def test_a_file_is_scored_with_reasons(holder, tmp_path) -> None:
    data = write_table(tmp_path / "new.csv", rows=120, seed=5, id=range(1000, 1120), default=None)
    out = tmp_path / "scores.csv"
    code, summary = as_json("predict", data, "--out", out, "--id", "id", "--reasons", "2", home=holder)
    assert code == 0
    assert (summary["rows"], summary["reasons"]) == (120, "exact")
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 120
    assert [row["id"] for row in rows] == [str(i) for i in range(1000, 1120)]
    assert list(rows[0])[:4] == ["row", "id", "score", "probability"]
    assert "reason_2_change" in rows[0]
    assert any(row["reason_1"] == "LOW-income" for row in rows)
    ranked = sorted(rows, key=lambda row: int(row["score"]))
    assert float(ranked[0]["probability"]) > float(ranked[-1]["probability"])


def test_lines_and_parquet_say_the_same(holder, tmp_path) -> None:
    data = write_table(tmp_path / "new.csv", rows=30, seed=5)
    lines, table = tmp_path / "scores.jsonl", tmp_path / "scores.parquet"
    for out in (lines, table):
        assert fedagent("predict", data, "--out", out, "--language", "zh", home=holder).returncode == 0
    said = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    stored = parquet.read_table(table).to_pylist()
    assert [one["score"] for one in said] == [one["score"] for one in stored]
    assert [one["reasons"][0]["text"] if one["reasons"] else None for one in said] == [one["reason_1_text"] for one in stored]
    assert not list(tmp_path.glob(".*.tmp"))


def test_without_a_file_the_first_are_shown(holder, tmp_path) -> None:
    data = write_table(tmp_path / "new.csv", rows=30)
    done = fedagent("predict", data, home=holder)
    assert done.returncode == 0
    assert "30 customers scored" in done.stdout
    assert "principal reason" in done.stdout
    code, summary = as_json("predict", data, home=holder)
    assert code == 0
    assert len(summary["first"]) == 10


def test_dittos_personal_model_is_there_for_its_bank_and_no_other_strategy_makes_one(serve, bank, holder, tmp_path) -> None:
    portal = serve(training__epochs=1, strategy={"name": "ditto", "mu": 0.01}, schedule={"rounds": 3})
    home = bank(portal)
    run_agent(home)
    data = write_table(tmp_path / "new.csv", rows=30)
    code, common = as_json("predict", data, home=home)
    assert (code, common["personal"]) == (0, False)
    code, own = as_json("predict", data, "--personal", home=home)
    assert (code, own["personal"]) == (0, True)
    assert own["digest"] != common["digest"]
    assert own["mean_probability"] != common["mean_probability"]
    assert "this bank trained it for itself" in fedagent("predict", data, "--personal", home=home).stdout
    code, problem = as_json("predict", data, "--personal", home=holder)
    assert (code, problem["code"]) == (1, "not_found")


def test_a_model_that_was_changed_scores_nothing(holder, tmp_path) -> None:
    data = write_table(tmp_path / "new.csv", rows=30)
    (folder,) = (holder.path / "models").iterdir()
    weights = folder / "weights.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    code, problem = as_json("predict", data, "--out", tmp_path / "x.csv", home=holder)
    assert (code, problem["code"]) == (1, "digest_mismatch")
    weights.write_bytes(before)
    spec = json.loads((folder / "preprocessing.json").read_text())
    spec["numeric"][0]["mean"] += 1
    (folder / "preprocessing.json").write_text(json.dumps(spec))
    code, problem = as_json("predict", data, "--out", tmp_path / "x.csv", home=holder)
    assert (code, problem["code"]) == (1, "manifest_mismatch")
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    ("columns", "arguments", "code", "word"),
    [
        ({"region": None}, (), "data_unfit", "there is no such column"),
        ({"income": ["much"] * 30}, (), "data_unfit", "not numbers"),
        ({}, ("--id", "customer"), "data_unfit", "customer"),
        ({}, ("--out", "scores.xlsx"), "data_unfit", ".parquet"),
        ({}, ("--model", "nonsense"), "not_found", "nonsense"),
        ({}, ("--project", "other"), "not_found", "other"),
    ],
)
def test_what_cannot_be_scored_is_said(holder, tmp_path, columns, arguments, code, word) -> None:
    data = write_table(tmp_path / "new.csv", rows=30, **columns)
    returned, problem = as_json("predict", data, *arguments, home=holder)
    assert (returned, problem["code"]) == (1, code)
    assert word in json.dumps(problem)


def test_an_empty_file_is_no_customers(holder, tmp_path) -> None:
    data = tmp_path / "new.csv"
    data.write_text("income,region\n")
    code, problem = as_json("predict", data, home=holder)
    assert (code, problem["code"]) == (1, "data_unfit")


def test_before_a_run_has_finished_there_is_nothing_to_score_with(portal, bank, tmp_path) -> None:
    code, problem = as_json("predict", write_table(tmp_path / "new.csv", rows=30), home=bank(portal))
    assert (code, problem["code"]) == (1, "not_found")
    assert "none yet" in problem["got"]
