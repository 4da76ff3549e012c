"""A small federation through ``simulate``: the real portal, real HTTP, real agents; the contract of its options and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.road.commands import manage, simulate, write_table

ABOUT = ["--label", "bad", "--positive", "CHGOFF"]
SHORT = ["--set", "schedule.rounds=3", "--set", "training.epochs=1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_table(tmp_path_factory.mktemp("table") / "applications.csv")


@pytest.fixture(scope="module")
def undisturbed(table, tmp_path_factory):
    """Four banks of growing size, seed 7, with references."""
    out = tmp_path_factory.mktemp("first") / "result.json"
    argv = ["--data", str(table), *ABOUT, "--drop", "bank", "--banks", "4", "--skew", "quantity:1.5", "--seed", "7"]
    return simulate(out, *argv, *SHORT)


def test_the_result_has_the_fields_of_the_contract(undisturbed):
    assert set(undisturbed) == {
        "plan_hash", "strategy", "rounds", "final", "central", "local", "model_digest", "totals",
    }  # fmt: skip
    assert undisturbed["strategy"] == "fedavg"
    assert set(undisturbed["final"]) == {"auc", "ks", "gini", "logloss", "brier"}
    assert set(undisturbed["central"]) == {"auc"}
    assert set(undisturbed["totals"]) == {"seconds", "bytes_up", "bytes_down", "peak_rss_mb"}
    for row in undisturbed["rounds"]:
        assert set(row) == {
            "number", "seconds", "bytes_up", "bytes_down", "participants", "auc", "ks", "loss", "epsilon",
        }  # fmt: skip
    for row in undisturbed["local"]:
        assert set(row) == {"institution", "rows", "auc", "own_auc", "final_own_auc"}


def test_every_round_tells_what_it_published(undisturbed):
    rounds = undisturbed["rounds"]
    assert [row["number"] for row in rounds] == [1, 2, 3]
    assert all(row["participants"] == 4 and row["epsilon"] is None for row in rounds)
    assert all(row["bytes_up"] > 0 and 0.4 < row["auc"] < 1 and row["loss"] > 0 and row["seconds"] > 0 for row in rounds)
    assert all(row["bytes_down"] > 0 for row in rounds[1:])  # version 0 is computed at each bank, not fetched
    totals = undisturbed["totals"]
    assert totals["bytes_up"] == sum(row["bytes_up"] for row in rounds)
    assert totals["seconds"] >= max(row["seconds"] for row in rounds)
    assert totals["peak_rss_mb"] > 30


def test_scores_are_compared_with_a_bank_alone_and_with_all_rows_together(undisturbed):
    assert 0.5 < undisturbed["final"]["auc"] < 1
    assert undisturbed["final"]["gini"] == pytest.approx(2 * undisturbed["final"]["auc"] - 1)
    assert 0.5 < undisturbed["central"]["auc"] < 1
    assert [row["institution"] for row in undisturbed["local"]] == ["bank-1", "bank-2", "bank-3", "bank-4"]
    sizes = [row["rows"] for row in undisturbed["local"]]
    assert sizes == sorted(sizes)
    assert sizes[3] / sizes[0] == pytest.approx(1.5**3, rel=0.1)


def test_the_same_seed_gives_the_same_model_though_agents_are_killed(table, undisturbed, tmp_path):
    again = simulate(
        tmp_path / "result.json", "--data", str(table), *ABOUT, "--drop", "bank", "--banks", "4", "--skew", "quantity:1.5",
        "--seed", "7", *SHORT, "--no-reference",
        "--fault", "bank-1:1:pulled:kill", "--fault", "bank-2:2:training:kill", "--fault", "bank-3:3:uploading:kill",
    )  # fmt: skip
    assert again["model_digest"] == undisturbed["model_digest"]
    assert again["plan_hash"] == undisturbed["plan_hash"]
    assert again["final"] == undisturbed["final"]
    assert again["central"] is None
    assert again["local"] == []


def test_a_column_makes_the_banks_and_a_plan_from_a_file_is_fitted_to_them(table, tmp_path):
    plan = tmp_path / "plan.yaml"
    drafted = manage("draft_plan", "--data", str(table), *ABOUT, "-o", str(plan))
    assert drafted.returncode == 0, drafted.stderr
    result = simulate(
        tmp_path / "result.json", str(plan), "--data", str(table), "--label", "bad", "--by", "bank", "--top", "3",
        "--set", "schedule.rounds=2", "--set", "model.family=logistic", "--set", "schedule.quorum=0.6",
        "--set", "schedule.min_wait_s=6", "--no-reference", "--fault", "b-co:1:training:drop",
        "--fault", "bank-of-a:all:training:flip",
    )  # fmt: skip
    assert [row["participants"] for row in result["rounds"]] == [2, 3]
    assert result["rounds"][0]["seconds"] >= 6  # the bank that left might have come back


@pytest.mark.parametrize(
    "argv",
    [
        ["--data", "x.csv", "--label", "bad"],
        ["--data", "x.csv", "--label", "bad", "--banks", "0"],
        ["--data", "x.csv", "--label", "bad", "--banks", "4", "--by", "bank"],
        ["--data", "x.csv", "--label", "bad", "--by", "bank", "--skew", "iid"],
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_2(argv):
    done = manage("simulate", *argv)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--data", "missing.csv"], "missing.csv"),
        (["--positive", "LOST"], "LOST"),
        (["--set", "strategy.name=krum"], "krum needs at least 5 banks"),
        (["--fault", "bank-9:1:training:kill"], "bank-9"),
        (["--skew", "sideways"], "sideways"),
    ],
)
def test_what_cannot_be_rehearsed_ends_with_1_and_a_sentence(table, changes, words):
    argv = {"--data": str(table), "--label": "bad", "--positive": "CHGOFF", "--banks": "4", "--drop": "bank"}
    repeated = [text for text in changes if changes[0] in ("--set", "--fault")]
    argv |= {} if repeated else dict([changes])
    done = manage("simulate", *[text for pair in argv.items() for text in pair], *repeated)
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_result_goes_to_standard_output_for_a_dash_and_progress_to_standard_error(table):
    done = manage(
        "simulate", "--data", str(table), *ABOUT, "--drop", "bank", "--banks", "3", "--no-reference", "--json", "-",
        "--set", "schedule.rounds=1", "--set", "training.epochs=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["rounds"]) == 1
    assert "round 1/1" in done.stderr
