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


def test_every_strategy_and_codec_runs_verifies_and_replays_to_the_same_digests(tmp_path):
    plans = [{"name": name, "settings": settings_of(name)} for name in STRATEGIES]
    plans += [{"name": f"{name} again", "settings": [*settings_of(name), "retention.updates_days=399"]} for name in ("scaffold", "krum")]
    plans += [{"name": codec, "settings": [*LIGHT, f"compression.codec={codec}"]} for codec in ("bfloat16", "int8", "topk")]
    plans += [{"name": "mixed", "settings": [*settings_of("median"), "strategy.mixing=nearest"]}]
    table = write_table(tmp_path / "applications.csv", rows=800)
    spec = {"data": str(table), "label": "bad", "positive": "CHGOFF", "drop": ["bank"], "banks": 5, "plans": plans}
    results = {row["name"]: row for row in rehearse(spec, folder=tmp_path / "rehearsed")}
    assert {name: row["refused"] for name, row in results.items() if "refused" in row} == {}
    assert set(results) == {plan["name"] for plan in plans}
    assert [name for name, row in results.items() if not (row["verified"] and row["replayed"])] == []
    assert all(row["final"]["auc"] > 0.4 and len(row["rounds"]) == 2 for row in results.values())
    for name in ("scaffold", "krum"):
        assert results[name]["model_digest"] == results[f"{name} again"]["model_digest"]
    up = {name: row["totals"]["bytes_up"] for name, row in results.items()}
    assert up["topk"] < up["int8"] < up["bfloat16"] < up["fedavg"] < up["scaffold"]
    assert results["newton"]["final"]["auc"] > results["fedavg"]["final"]["auc"]
