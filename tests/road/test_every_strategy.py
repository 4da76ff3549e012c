"""Every strategy and every codec through the real road: real portal, real HTTP, real agents, one federation for all of them."""

from __future__ import annotations

import pytest

from benchmarks.rehearsed import rehearse
from clientagent.wire.plan import STRATEGIES
from tests.road.commands import write_table

pytestmark = pytest.mark.slow
LIGHT = ["schedule.rounds=2", "model.hidden=[6]", "training.batch_size=32"]


def settings_of(name: str) -> list[str]:
    return [*LIGHT, f"strategy.name={name}", *(["model.family=logistic"] if name == "newton" else [])]


@pytest.fixture
def spec(tmp_path):
    table = write_table(tmp_path / "applications.csv", rows=800)
    return {"data": str(table), "label": "bad", "positive": "CHGOFF", "drop": ["bank"], "banks": 5}


def test_every_strategy_and_codec_runs_verifies_and_replays_to_the_same_digests(spec, tmp_path):
    plans = [{"name": name, "settings": settings_of(name)} for name in STRATEGIES]
    plans += [{"name": codec, "settings": [*LIGHT, f"compression.codec={codec}"]} for codec in ("bfloat16", "int8", "topk")]
    plans += [{"name": "mixed", "settings": [*settings_of("median"), "strategy.mixing=nearest"]}]
    results = {row["name"]: row for row in rehearse({**spec, "plans": plans}, folder=tmp_path / "rehearsed")}
    assert {name: row["refused"] for name, row in results.items() if "refused" in row} == {}
    assert set(results) == {plan["name"] for plan in plans}
    assert [name for name, row in results.items() if not (row["verified"] and row["replayed"])] == []
    assert all(row["final"]["auc"] > 0.4 and len(row["rounds"]) == 2 for row in results.values())
    up = {name: row["totals"]["bytes_up"] for name, row in results.items()}
    assert up["topk"] < up["int8"] < up["bfloat16"] < up["fedavg"] < up["scaffold"]
    assert results["newton"]["final"]["auc"] > results["fedavg"]["final"]["auc"]


def test_what_a_bank_keeps_survives_its_death(spec, tmp_path):
    """Three rounds, so that what was kept with one update is what the next starts from, with agents killed on the way."""
    plans = [{"name": name, "settings": [*settings_of(name), "schedule.rounds=3"]} for name in ("scaffold",)]
    plans += [{"name": "topk", "settings": [*LIGHT, "schedule.rounds=3", "compression.codec=topk", "compression.share=0.1"]}]
    faults = ["bank-1:2:training:kill", "bank-2:3:pulled:kill", "bank-3:2:uploading:kill"]
    for plan in plans:  # a bank dies once for a round, so each plan has a federation of its own
        calm = rehearse({**spec, "plans": [plan]}, folder=tmp_path / "calm")[0]
        disturbed = rehearse({**spec, "plans": [plan], "faults": faults}, folder=tmp_path / "disturbed")[0]
        assert disturbed["verified"]
        assert disturbed["model_digest"] == calm["model_digest"], plan["name"]
