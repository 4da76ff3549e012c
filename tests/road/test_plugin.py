"""A plugin of the banks' own through ``simulate``: the real portal, which has no such module, and agents that have it installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.installing import put
from tests.road.commands import ROOT, simulate, write_table

MODULE = """
import torch

class Wide(torch.nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.wide = torch.nn.Linear(inputs, 1)
        self.deep = torch.nn.Sequential(torch.nn.Linear(inputs, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def forward(self, rows):
        return (self.wide(rows) + self.deep(rows)).squeeze(-1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "ditto"])
def test_a_federation_trains_a_module_that_only_the_banks_know(tmp_path: Path, monkeypatch, strategy: str) -> None:
    site = tmp_path / "site"
    site.mkdir()
    put(site, "wide", MODULE, at="Wide")
    monkeypatch.setenv("PYTHONPATH", str(site))
    section = subprocess.run(
        [sys.executable, "-m", "clientagent", "plans", "plugins", "wide", "--json"], cwd=ROOT, env=dict(os.environ),
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    result = simulate(
        tmp_path / "result.json", "--data", str(write_table(tmp_path / "table.csv")), "--label", "bad", "--positive", "CHGOFF",
        "--drop", "bank", "--banks", "3", "--set", f"model={section}", "--set", "schedule.rounds=4", "--set", "training.epochs=2",
        "--set", f"strategy.name={strategy}",
    )  # fmt: skip
    assert [row["participants"] for row in result["rounds"]] == [3, 3, 3, 3]
    assert result["final"]["auc"] > 0.6
    assert result["central"]["auc"] > 0.6
